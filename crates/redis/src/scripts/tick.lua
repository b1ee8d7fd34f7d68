#!lua flags=allow-oom
-- Does what is due without traffic, each kind up to a bound.
-- KEYS     the partition's state, from which all others are derived; the guard
-- ARGV[1]  now in ms, or empty
-- ARGV[2]  bound
-- ARGV[3]  how long events stay in the log, in ms
-- ARGV[4]  how long idempotency keys are remembered, in ms
-- ARGV[5]  how long an idle lane's record is kept, in ms
-- ARGV[6]  bytes of outcomes that are read of segments past their age
-- ARGV[7]  how long a lease can last, in ms
-- ARGV[8]  how long a retry can wait, in ms
-- ARGV[9]  how long a bucket of tokens can take to be full, in ms
-- Returns  '=', now, leases lost, next due or 0, the pools that have work (length, pool)
local now, bound, log_age = clock(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local ttl, lane_age = tonumber(ARGV[4]), tonumber(ARGV[5])

-- Times further ahead than they can have been set: the clock has gone back since.
local ahead = { deadlines = now + tonumber(ARGV[7]), wait = now + tonumber(ARGV[8]) }

local function due_of(kind)
  local due = call('ZRANGEBYSCORE', P .. kind, '-inf', now, 'LIMIT', 0, bound)
  if #due == bound then return due end
  local from = string.format('(%.0f', ahead[kind])
  for _, name in ipairs(call('ZRANGEBYSCORE', P .. kind, from, '+inf', 'LIMIT', 0, bound - #due)) do due[#due + 1] = name end
  return due
end

local function expire_leases()
  local lost, names = 0, due_of('deadlines')
  for _, lease in ipairs(names) do
    if lost >= bound then break end
    local record = call('HGET', P .. 'lease', lease)
    if record then
      lost = lost + take_back(lease, record, call('HGET', P .. 'open', lease), 1)
    else
      close_lease(lease, true)
    end
  end
  return lost
end

-- Notes what is to be queued again; the names of what waits no longer.
local entries = {}
local function queue_retries()
  local names = due_of('wait')
  local values = hmget(P .. 'rec', names)
  for i, name in ipairs(names) do
    local q = queue(sub(name, 1, 20))
    if q and q.deleted == 0 and values[i] then
      local header = pack('>I4', q.epoch) .. '\1' .. sub(values[i], 1, 5) .. sub(name, 21, 35)
      entries[#entries + 1] = { P .. 'que:' .. q.id, header .. sub(name, 36) }
      q.ready = q.ready + 1
      touch(q)
      admit(q)
    else
      call('HDEL', P .. 'rec', name)
      count_ended(sub(name, 23, 35), 1)
    end
  end
  return names
end

-- Notes as ended what a deleted subscription had queued; the subscription, how many
-- entries, and whether these are all.
local function clear()
  local id = call('LINDEX', P .. 'clearing', 0)
  if not id then return nil, 0, true end
  local found = call('LRANGE', P .. 'que:' .. id, 0, bound - 1)
  local q = queue(id)
  for _, entry in ipairs(found) do
    if q then
      q.ready = q.ready - (#entry - 25)
      touch(q)
    end
    count_ended(sub(entry, 13, 25), #entry - 25)
    if byte(entry, 5) == 1 then call('HDEL', P .. 'rec', id .. sub(entry, 11)) end
  end
  return id, #found, #found < bound
end

-- Drops day hashes and history blocks past their age, and idle lanes' records.
-- Days are swept some at a time, towards today: also from ahead, where the clock has been.
local function sweep_days()
  local days = tonumber(call('HGET', STATE, 'idem') or nil)
  local last = math.floor(now / ttl) - 2
  if days == last then return end
  local from = days or last - 400
  local to = math.max(math.min(last, from + 400), from - 400)
  for day = from + 1, to do call('UNLINK', P .. 'idem:' .. day) end
  for day = math.max(to, last + 1) + 3, from + 2 do call('UNLINK', P .. 'idem:' .. day) end
  call('HSET', STATE, 'pad', PAD, 'idem', to)
end

-- A block from ahead counts as written when it was found in front, at `found`.
local function sweep_blocks(found)
  for _ = 1, bound do
    local block = call('LINDEX', P .. 'blocks', 0)
    local at = block and unpack_('>I8', block)
    if not block or at <= now + 3600000 then
      found = 0
    else
      if found == 0 or found > now then found = now end
      at = found
    end
    if not block or at + log_age > now then break end
    call('LPOP', P .. 'blocks')
    call('UNLINK', P .. 'blk:' .. sub(block, 9))
  end
  return found
end

-- Removes buckets of tokens that are full, and such as only a clock that was ahead can have left.
local function sweep_rates()
  local at, ahead = string.format('%.0f', now * 1000), string.format('(%.0f', (now + tonumber(ARGV[9])) * 1000)
  local gone = call('ZRANGEBYSCORE', P .. 'rates', '-inf', at, 'LIMIT', 0, bound)
  if #gone < bound then
    for _, name in ipairs(call('ZRANGEBYSCORE', P .. 'rates', ahead, '+inf', 'LIMIT', 0, bound - #gone)) do gone[#gone + 1] = name end
  end
  if #gone > 0 then call('ZREM', P .. 'rates', unpack(gone)) end
end

local function sweep()
  sweep_rates()
  sweep_days()
  local cursor, at, had = string.match(call('HGET', STATE, 'lanes') or '0 0', '(%d+) (%d+) ?(%d*)')
  at, had = tonumber(at), tonumber(had) or 0
  local found = sweep_blocks(had)
  if now < at and at <= now + 600000 then
    if found == had then return end
  else
    local page = call('HSCAN', P .. 'lanes', cursor, 'COUNT', 64)
    for i = 1, #page[2], 2 do
      local field, row = page[2][i], page[2][i + 1]
      if math.abs(now - unpack_('>I8', row, 5)) >= lane_age then forget_lane(field, row) end
    end
    cursor, at = page[1], now + (page[1] == '0' and 600000 or 0)
  end
  call('HSET', STATE, 'lanes', string.format('%s %.0f %.0f', cursor, at, found))
end

local lost = expire_leases()
local retried = queue_retries()
local cleared, count, all = clear()
write_noted()
for _, entry in ipairs(entries) do call('RPUSH', entry[1], entry[2]) end
if #retried > 0 then call('ZREM', P .. 'wait', unpack(retried)) end
if count > 0 then call('LPOP', P .. 'que:' .. cleared, count) end
if cleared and all then call('LPOP', P .. 'clearing') end
local more = call('EXISTS', P .. 'clearing') == 1
local log_due = drop_old(now, bound, log_age, tonumber(ARGV[6]))
sweep()

local due = more and now or log_due
for _, key in ipairs({ 'deadlines', 'wait' }) do
  local first = tonumber(call('ZRANGE', P .. key, 0, 0, 'WITHSCORES')[2])
  local last = first and tonumber(call('ZRANGE', P .. key, -1, -1, 'WITHSCORES')[2])
  if first and last > ahead[key] then first = math.min(first, now) end
  if first and (not due or first < due) then due = first end
end
local pools = {}
for _, pool in ipairs(call('SMEMBERS', P .. 'pools')) do
  if call('EXISTS', P .. 'tenants:' .. pool) == 1 then
    pools[#pools + 1] = char(#pool) .. pool
  else
    call('SREM', P .. 'pools', pool)
  end
end
return '=' .. pack('>I8I4I8', now, lost, due or 0) .. table.concat(pools)
