#!lua
-- Takes over records that another store exported: all of them, or none.
-- KEYS     the partition's state, from which all others are derived; the guard
-- ARGV[1]  now in ms, or empty
-- ARGV[2]  stamp
-- ARGV[3]  queues that must be there; ARGV[4] segments that must be there
-- ARGV[5]  the attempts' records: a history block
-- ARGV[6…] for each record a letter, then: 't' tenant, version | 's' queue, version and record, window,
--          '1' if paused, pool, its four rows of health or nothing | 'g' queue, version | 'e' tenant, time, segment, its
--          text, bytes that it counts for | 'o' segment,
--          offset in the block, attempts | 'r' queue, header without epoch, indices, what it remembers,
--          due or empty | 'k' day, tenant and key, what it stands for
-- Returns  '=' now | '<' now: a later call was executed
local now, stamp = clock(ARGV[1]), ARGV[2]
local before = repeated('i', stamp, now)
if before then return before end
for at = 1, #ARGV[3], 20 do
  local q = queue(sub(ARGV[3], at, at + 19))
  if not q or q.deleted ~= 0 then return redis.error_reply('REFUSED a delivery of no subscription') end
end
for at = 1, #ARGV[4], 13 do
  if call('EXISTS', P .. 'seg:' .. sub(ARGV[4], at, at + 12)) == 0 then
    return redis.error_reply('REFUSED a record of no segment')
  end
end

local rows, unfinished = {}, {}
local take = {}

function take.t(tenant, version)
  local t = owner(tenant)
  t.version = version
  change(t)
end

function take.s(id, record, window, paused, pool, ...)
  for i, kind in ipairs({ 'h', 'e', '0', '1' }) do
    local health = select(i, ...)
    if health ~= '' then call('HSET', P .. 'health', kind .. id, health) end
  end
  call('HSET', P .. 'cat:' .. sub(id, 1, 16), sub(id, 17), record)
  local q = { id = id, flying = 0, ready = 0, epoch = 1, deleted = 0, ring = 0, owed = 0, pool = pool }
  q.window, q.paused = tonumber(window), tonumber(paused)
  queues[id] = q
  touch(q)
end

function take.g(id, version) call('HSET', P .. 'gone:' .. sub(id, 1, 16), sub(id, 17), version) end

function take.e(tenant, time, name, text, bytes)
  call('SET', P .. 'seg:' .. name, text)
  if call('RPUSH', P .. 'log:' .. tenant, time .. name .. pack('>I4', 0) .. bytes) == 1 then
    call('ZADD', P .. 'logs', unpack_('>I8', time), tenant)
  end
  keep(owner(tenant), unpack_('>I4', bytes))
end

function take.o(name, offset, attempts)
  rows[#rows + 1] = {
    segment = name, id = string.rep('\255', 20), offset = tonumber(offset), first = 0, last = 255,
    attempts = tonumber(attempts), ended = 0,
  }
end

local function remember_made(name, field, generation)
  local last = call('HGET', P .. 'made:' .. name, field)
  if generation > (last and unpack_('>I2', last) or 0) then
    call('HSET', P .. 'made:' .. name, field, pack('>I2', generation))
  end
end

function take.r(id, header, indices, retry, due)
  local q, name, bytes = queue(id), sub(header, 9), #indices * unpack_('>I4', header, 3)
  q.owed = q.owed + bytes
  owe(id, bytes)
  touch(q)
  unfinished[name] = (unfinished[name] or 0) + #indices
  if byte(header) == 1 then
    call('HSET', P .. 'rec', id .. sub(header, 7) .. indices, sub(header, 2, 6) .. retry)
    remember_made(name, sub(id, 17) .. indices, unpack_('>I2', header, 7))
  end
  if due ~= '' then
    call('ZADD', P .. 'wait', due, id .. sub(header, 7) .. indices)
    return
  end
  call('RPUSH', P .. 'que:' .. id, pack('>I4', q.epoch) .. header .. indices)
  q.ready = q.ready + #indices
  admit(q)
end

function take.k(day, field, value) call('HSET', P .. 'idem:' .. day, 'pad', PAD, field, value) end

local counts, at = { t = 2, s = 9, g = 2, e = 5, o = 3, r = 5, k = 3 }, 6
while ARGV[at] do
  local kind = ARGV[at]
  take[kind](unpack(ARGV, at + 1, at + counts[kind]))
  at = at + 1 + counts[kind]
end
write_outcomes(stamp, now, ARGV[5], rows)

-- A log entry says that none of its deliveries is unfinished: the outcomes take
-- that back, in one stretch without attempts that grows while there is room.
for name, count in pairs(unfinished) do
  local key = P .. 'out:' .. name
  local size = call('STRLEN', key)
  local last = size > 0 and call('GETRANGE', key, size - 30, size - 1) or ''
  local ended = #last == 30 and sub(last, 1, 28) == string.rep('\0', 28) and unpack_('>i2', last, 29)
  if ended and ended - count >= -32768 then
    call('SETRANGE', key, size - 2, pack('>i2', ended - count))
  else
    call('APPEND', key, string.rep('\0', 28) .. pack('>i2', -count))
  end
end
local changes = owner_rows()
if #dirty + #changes > 0 then save_queues({ 'pad', PAD, unpack(changes) }) end
return answer('i', stamp, now, '')
