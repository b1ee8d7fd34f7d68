-- library: the log's end: events past their age, and idle lanes

-- Bytes of outcomes after which the sum so far is kept.
local LONG = 4080

-- Whether all deliveries of a segment have ended, and how many bytes that took of
-- `budget`: what is not read this time is read next time.
local function finished(segment, total, budget)
  local key, row = P .. 'out:' .. segment, call('HGET', P .. 'told', segment)
  local from, ended = 0, 0
  if row then from, ended = unpack_('>I8i8', row) end
  local size = math.max(budget - budget % 30, LONG)
  local text = call('GETRANGE', key, from, from + size - 1)
  for at = 29, #text, 30 do ended = ended + unpack_('>i2', text, at) end
  -- A tick that failed may have removed the segment and kept its entry.
  local gone = #text == 0 and not row and call('EXISTS', P .. 'seg:' .. segment) == 0
  local done = gone or (#text < size and ended >= total)
  if not done and #text >= LONG then
    call('HSET', P .. 'told', segment, pack('>I8i8', from + #text, ended))
  end
  return done, #text
end

local function forget_segment(segment)
  call('UNLINK', P .. 'seg:' .. segment, P .. 'out:' .. segment, P .. 'made:' .. segment)
  call('HDEL', P .. 'told', segment)
end

-- Looks again at segments past their age that had unfinished deliveries: at some of
-- them, at others in the next second. Writes nothing where nothing has changed.
local function drop_late(now, budget)
  local size, first = call('ZCARD', P .. 'late'), 0
  if size > 16 then first = math.floor(now / 1000) * 16 % size end
  for _, late in ipairs(size > 0 and call('ZRANGE', P .. 'late', first, first + 15) or {}) do
    if budget <= 0 then return end
    local tenant, entry = sub(late, 1, 16), sub(late, 17)
    local done, read = finished(sub(entry, 9, 21), unpack_('>I4', entry, 22), budget)
    budget = budget - read
    if done then
      forget_segment(sub(entry, 9, 21))
      call('ZREM', P .. 'late:' .. tenant, entry)
      call('ZREM', P .. 'late', late)
    end
  end
end

-- Takes the oldest segment from a tenant's log; how many bytes that took of `budget`.
local function drop_oldest(tenant, entry, budget)
  local segment, key = sub(entry, 9, 21), P .. 'log:' .. tenant
  local row = call('HGET', STATE, 't' .. tenant) or string.rep('\0', 24)
  local position = unpack_('>I8', row, 17) + 1
  local done, read = finished(segment, unpack_('>I4', entry, 22), budget)
  if done then
    forget_segment(segment)
  else
    call('ZADD', P .. 'late:' .. tenant, position, entry)
    call('ZADD', P .. 'late', 0, tenant .. entry)
  end
  call('LPOP', key)
  call('HSET', STATE, 't' .. tenant, sub(row, 1, 16) .. pack('>I8', position))
  local head = call('LINDEX', key, 0)
  if head then
    call('ZADD', P .. 'logs', unpack_('>I8', head), tenant)
  else
    call('ZREM', P .. 'logs', tenant)
  end
  return read
end

-- Drops up to `bound` segments past their age, reading about `budget` bytes of their
-- outcomes, and as many again of those that are late; when the next one is due.
local function drop_old(now, bound, age, budget)
  drop_late(now, budget)
  for _ = 1, bound do
    if budget <= 0 then return now end
    local first = call('ZRANGE', P .. 'logs', 0, 0, 'WITHSCORES')
    if not first[1] then return nil end
    local due = tonumber(first[2]) + age
    if due > now then return due end
    budget = budget - drop_oldest(first[1], call('LINDEX', P .. 'log:' .. first[1], 0), budget)
  end
  return now
end

-- Forgets an idle lane, and segments that its next call staged and never stored.
local function forget_lane(field, row)
  call('HDEL', P .. 'lanes', field)
  if sub(field, 1, 1) ~= 'p' then return end
  local keys, stamp = {}, sub(field, 2) .. pack('>I4', unpack_('>I4', row) + 1)
  for ordinal = 0, 127 do keys[#keys + 1] = P .. 'new:' .. stamp .. char(ordinal) end
  call('UNLINK', unpack(keys))
end
