-- library: the log's end: events past their age, and idle lanes

-- Whether all deliveries of a segment have ended.
local function finished(segment, total)
  local text = call('GET', P .. 'out:' .. segment)
  local ended = 0
  for at = 17, #(text or ''), 20 do
    local _, count = unpack_('>I2i2', text, at)
    ended = ended + count
  end
  return ended >= total
end

local function forget_segment(segment)
  call('UNLINK', P .. 'seg:' .. segment, P .. 'out:' .. segment, P .. 'made:' .. segment)
end

-- Segments past their age that had unfinished deliveries: some are looked at again
-- at every tick, in turn.
local function drop_late()
  for _ = 1, 16 do
    local late = call('LPOP', P .. 'late')
    if not late then return end
    local tenant, entry = sub(late, 1, 16), sub(late, 17)
    if finished(sub(entry, 9, 21), unpack_('>I4', entry, 22)) then
      forget_segment(sub(entry, 9, 21))
      call('ZREM', P .. 'late:' .. tenant, entry)
    else
      call('RPUSH', P .. 'late', late)
    end
  end
end

-- Takes the oldest segment from a tenant's log.
local function drop_oldest(tenant, entry)
  local segment, key = sub(entry, 9, 21), P .. 'log:' .. tenant
  local row = call('HGET', STATE, 't' .. tenant) or string.rep('\0', 24)
  local position = unpack_('>I8', row, 17) + 1
  if finished(segment, unpack_('>I4', entry, 22)) then
    forget_segment(segment)
  else
    call('ZADD', P .. 'late:' .. tenant, position, entry)
    call('RPUSH', P .. 'late', tenant .. entry)
  end
  call('LPOP', key)
  call('HSET', STATE, 't' .. tenant, sub(row, 1, 16) .. pack('>I8', position))
  local head = call('LINDEX', key, 0)
  if head then
    call('ZADD', P .. 'logs', unpack_('>I8', head), tenant)
  else
    call('ZREM', P .. 'logs', tenant)
  end
end

-- Drops up to `bound` segments past their age; when the next one is due.
local function drop_old(now, bound, age)
  drop_late()
  for _ = 1, bound do
    local first = call('ZRANGE', P .. 'logs', 0, 0, 'WITHSCORES')
    if not first[1] then return nil end
    local due = tonumber(first[2]) + age
    if due > now then return due end
    drop_oldest(first[1], call('LINDEX', P .. 'log:' .. first[1], 0))
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
