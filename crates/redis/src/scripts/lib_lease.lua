-- library: a lease's runs, giving lent deliveries back to the heads of their queues, and counting what ends without a record
-- A lease's runs in their order, and its size. `base` is a run's first position,
-- `at` where its indices begin in the record.
local function runs_of(record)
  local runs, ids, at, base = {}, {}, 49, 0
  while at <= #record do
    local id, header, size = sub(record, at, at + 19), sub(record, at + 20, at + 44), byte(record, at + 45)
    runs[#runs + 1] = {
      id = id, header = header, landed = 0, kept = 0, base = base, size = size, at = at + 46,
      name = id .. sub(header, 11), segment = sub(header, 13), recorded = byte(header, 5) == 1,
      charge = unpack_('>I4', header, 7),
    }
    ids[#ids + 1] = id
    at, base = at + 46 + size, base + size
    if byte(header, 5) == 1 then at = at + 4 + unpack_('>I4', record, at) end
  end
  preload(ids)
  for _, run in ipairs(runs) do
    run.q = queue(run.id)
    run.alive = run.q and run.q.epoch == unpack_('>I4', run.header)
  end
  return runs, base
end

-- What is to be written: entries by queue, counts by segment, leases that are over,
-- and leases with a new map of what is open.
local returned, ended, closed, with_map, maps = {}, {}, {}, {}, {}

-- Notes that `count` deliveries of a segment ended without an attempt.
local function count_ended(segment, count)
  ended[segment] = (ended[segment] or 0) + count
end

-- Notes an entry (header and indices) for the head of its queue, the last position
-- first; what belongs to a cleared queue ends instead.
local function give_back(id, header, indices)
  local q, bytes = queue(id), #indices * unpack_('>I4', header, 7)
  if q and q.epoch == unpack_('>I4', header) then
    local list = returned[id]
    if not list then
      list = {}
      returned[id] = list
    end
    list[#list + 1] = header .. indices
    q.ready, q.owed = q.ready + #indices, q.owed + bytes
    touch(q)
    return
  end
  owe(id, -bytes)
  count_ended(sub(header, 13), #indices)
  if byte(header, 5) == 1 then call('HDEL', P .. 'rec', id .. sub(header, 11) .. indices) end
end

-- Notes that a lease is over.
local function close_lease(lease, had_map)
  closed[#closed + 1] = lease
  if had_map then with_map[#with_map + 1] = lease end
end

-- Gives what is still open of a lease back with `lost` more leases lost, and
-- ends the lease. Answers how many deliveries.
local function take_back(lease, record, open, lost)
  local count, runs = 0, runs_of(record)
  for i = #runs, 1, -1 do
    local run = runs[i]
    local indices, header = sub(record, run.at, run.at + run.size - 1), run.header
    if open then
      local kept = {}
      for k = 1, run.size do
        if byte(open, run.base + k) == 49 then kept[#kept + 1] = sub(indices, k, k) end
      end
      indices = table.concat(kept)
    end
    if #indices > 0 then
      count = count + #indices
      if lost > 0 then
        header = sub(header, 1, 5) .. char(math.min(byte(header, 6) + lost, 255)) .. sub(header, 7)
      end
      give_back(run.id, header, indices)
      if run.q then
        run.q.flying = run.q.flying - #indices
        touch(run.q)
        admit(run.q)
      end
    end
  end
  close_lease(lease, open)
  return count
end

-- Writes what was noted, the touched queues, and what their tenants have.
local function write_noted()
  for segment, count in pairs(ended) do
    if call('EXISTS', P .. 'seg:' .. segment) == 1 then
      call('APPEND', P .. 'out:' .. segment, string.rep('\0', 28) .. pack('>i2', count))
    end
  end
  local rows = owner_rows()
  if #dirty + #rows > 0 then save_queues(rows) end
  for id, list in pairs(returned) do
    each(4000, list, function(...) call('LPUSH', P .. 'que:' .. id, ...) end)
  end
  each(4000, maps, function(...) call('HSET', P .. 'open', ...) end)
  -- The deadline last: `tick` clears away behind one that has no lease.
  each(4000, closed, function(...) call('HDEL', P .. 'lease', ...) end)
  each(4000, with_map, function(...) call('HDEL', P .. 'open', ...) end)
  each(4000, closed, function(...) call('ZREM', P .. 'deadlines', ...) end)
end

-- Refers to a history block from its segments' outcomes, and keeps it.
local function write_outcomes(stamp, now, block, rows)
  if block == '' then return end
  local texts, order = {}, {}
  for i, row in ipairs(rows) do
    local segment, length = row.segment, (rows[i + 1] and rows[i + 1].offset or #block) - row.offset
    if not texts[segment] then
      texts[segment] = ''
      order[#order + 1] = segment
    end
    texts[segment] = texts[segment] .. stamp .. pack('>I4I4', row.offset, length) .. sub(row.id, 17)
      .. pack('>BBI2i2', row.first, row.last, row.attempts, row.ended)
  end
  for _, segment in ipairs(order) do call('APPEND', P .. 'out:' .. segment, texts[segment]) end
  call('RPUSH', P .. 'blocks', pack('>I8', now) .. stamp)
  call('SET', P .. 'blk:' .. stamp, block)
  call('PUBLISH', P .. 'hints', 's' .. stamp)
end
