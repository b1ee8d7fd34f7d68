#!lua flags=allow-oom
-- Settles outcomes: ends deliveries, lets them wait, or gives them back.
-- KEYS     the partition's state, from which all others are derived; the guard
-- ARGV[1]  now in ms, or empty
-- ARGV[2]  stamp
-- ARGV[3]  the records of all items that have one, in their order: a history block
-- ARGV[4]  what health keeps (lib_health.lua)
-- ARGV[5]  the notes of all items that have a mark, in their order: length 1, note
-- ARGV[6…] four for each lease: lease and token; groups (items, queue, generation, segment);
--          items (position, index, 'e' end | 'r' retry | 'b' back, offset of the record 4,
--          mark, 0: none, else 1 + 10 * kind + class of its time);
--          retries (due, length, what it remembers)
-- Returns  status, now, for each lease the number of stale positions and the positions
local now, stamp, block, notes = clock(ARGV[1]), ARGV[2], ARGV[3], ARGV[5]
local before = repeated('s', stamp, now)
if before then return before end
local END, RETRY, BACK, OPEN = byte('e'), byte('r'), byte('b'), byte('1')

local names, leases = {}, {}
for i = 6, #ARGV, 4 do names[#names + 1] = sub(ARGV[i], 1, 13) end
local records, opens = hmget(P .. 'lease', names), hmget(P .. 'open', names)

-- The plain ends are only counted; whatever needs a write of its own is in `moves`.
local rows, moves = {}, {}
local kept, kept_to, cut, note_at = {}, 1, 0, 1
local row = { segment = '' }

-- Begins a row of a segment's outcomes: neighbours in the block of one queue share one.
local function begin_row(run, index, offset)
  row = { segment = run.segment, id = run.id, offset = offset, first = index, last = index, attempts = 0, ended = 0 }
  rows[#rows + 1] = row
end

-- Leaves a stale item's record out of the block.
local function drop(offset)
  local length = 20 + unpack_('>I4', block, offset + 1)
  kept[#kept + 1] = sub(block, kept_to, offset)
  kept_to, cut = offset + length + 1, cut + length
end

-- Moves on a delivery that needs more than being counted.
local function conclude(lease, run, position, index, what, due, retry)
  if what == BACK then
    run.kept = run.kept + 1
    lease.back[#lease.back + 1] = { position = position, run = run, index = char(index) }
  elseif what == RETRY and run.alive then
    row.ended, run.kept = row.ended - 1, run.kept + 1
    run.q.owed = run.q.owed + run.charge
    moves[#moves + 1] = { name = run.name .. char(index), value = sub(run.header, 6, 10) .. retry, due = due }
  elseif run.recorded then
    moves[#moves + 1] = { name = run.name .. char(index) }
  end
end

-- Goes through one lease's items without writing; an error in words if one is
-- another delivery than the caller takes it for.
local function examine(lease, groups, items, retries)
  local at, retry_at, count = 1, 1, 0
  local record, runs, run, r = lease.record, lease.runs, lease.runs and lease.runs[1], 1
  local closed, open, size = lease.closed, lease.open, lease.size
  for group_at = 1, #groups, 36 do
    local wanted = sub(groups, group_at + 1, group_at + 35)
    for _ = 1, byte(groups, group_at) do
      local position, index, what, _, _, _, _, mark = byte(items, at, at + 7)
      local note = note_at
      if mark > 0 then note_at = note_at + 1 + byte(notes, note_at) end
      local due, length, retry
      if what == RETRY then
        due, length = unpack_('>I8I4', retries, retry_at)
        retry = sub(retries, retry_at + 12, retry_at + 11 + length)
        retry_at = retry_at + 12 + length
      end
      if position >= size or closed[position] or (open and byte(open, position + 1) ~= OPEN) then
        lease.stale[#lease.stale + 1] = char(position)
        if what ~= BACK then drop(unpack_('>I4', items, at + 3)) end
      else
        if position < run.base then r, run = 1, runs[1] end
        while position >= run.base + run.size do
          r = r + 1
          run = runs[r]
        end
        if run.name ~= wanted or byte(record, run.at + position - run.base) ~= index then
          return 'REFUSED position ' .. position .. ' is another delivery'
        end
        closed[position] = true
        count = count + 1
        run.landed = run.landed + 1
        if what ~= BACK then
          if row.segment ~= run.segment or row.id ~= run.id then begin_row(run, index, unpack_('>I4', items, at + 3) - cut) end
          if index < row.first then row.first = index elseif index > row.last then row.last = index end
          row.attempts, row.ended = row.attempts + 1, row.ended + 1
        end
        if mark > 0 and run.q and run.q.deleted == 0 then count_mark(run.id, mark, note) end
        if what ~= END or run.recorded then conclude(lease, run, position, index, what, due, retry) end
      end
      at = at + 8
    end
  end
  lease.count = count
end

for i, name in ipairs(names) do
  local head, record = ARGV[4 * i + 2], records[i]
  local lease = { name = name, open = opens[i], size = 0, count = 0, stale = {}, closed = {}, back = {} }
  if record and sub(record, 1, 16) == sub(head, 14, 29) then
    lease.record = record
    lease.runs, lease.size = runs_of(record)
  end
  leases[i] = lease
  local wrong = examine(lease, ARGV[4 * i + 3], ARGV[4 * i + 4], ARGV[4 * i + 5])
  if wrong then return redis.error_reply(wrong) end
end
if cut > 0 then block = table.concat(kept) .. sub(block, kept_to) end

-- What is left open of a lease, one byte for each position; nil when nothing is.
local function still_open(lease)
  local left, count = {}, 0
  for position = 0, lease.size - 1 do
    local is = not lease.closed[position] and (not lease.open or byte(lease.open, position + 1) == OPEN)
    left[position + 1] = is and '1' or '0'
    if is then count = count + 1 end
  end
  return count > 0 and table.concat(left) or nil
end

local reply = {}
for i, lease in ipairs(leases) do
  reply[i] = char(#lease.stale) .. table.concat(lease.stale)
  if lease.count > 0 then
    for _, run in ipairs(lease.runs) do
      owe(run.id, (run.kept - run.landed) * run.charge)
      if run.q and run.landed > 0 then
        run.q.flying = run.q.flying - run.landed
        touch(run.q)
      end
    end
    table.sort(lease.back, function(a, b) return a.position > b.position end)
    for _, item in ipairs(lease.back) do give_back(item.run.id, item.run.header, item.index) end
    local left = lease.count < lease.size and still_open(lease)
    if left then
      maps[#maps + 1], maps[#maps + 2] = lease.name, left
    else
      close_lease(lease.name, lease.open)
    end
  end
end
-- Where this call failed in its middle before, the block may be whole and in use.
if cut == 0 or call('EXISTS', P .. 'blk:' .. stamp) == 0 then write_outcomes(stamp, now, block, rows) end
write_health(stamp, now, ARGV[4], notes)
for _, move in ipairs(moves) do
  if move.due then
    call('HSET', P .. 'rec', move.name, move.value)
    call('ZADD', P .. 'wait', move.due, move.name)
  else
    call('HDEL', P .. 'rec', move.name)
  end
end
table.sort(dirty, function(a, b) return a.id < b.id end)
write_noted()
return answer('s', stamp, now, table.concat(reply))
