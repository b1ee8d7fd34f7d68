-- library: the log's end: events past their age or beyond their tenant's budget, and idle lanes

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

-- Looks again at segments that wait for their last delivery: at some of them, at
-- others a moment later. Writes nothing where nothing has changed. Whether any left.
local function drop_late(now, bound, budget)
  local size, first, over = call('ZCARD', P .. 'late'), 0, {}
  if size > bound then first = now % 1000000 * 7919 % size end
  for _, late in ipairs(size > 0 and call('ZRANGE', P .. 'late', first, first + bound - 1) or {}) do
    if budget <= 0 then break end
    local entry = sub(late, 17)
    local done, read = finished(sub(entry, 9, 21), unpack_('>I4', entry, 22), budget)
    budget = budget - read
    if done then
      forget_segment(sub(entry, 9, 21))
      keep(owner(sub(late, 1, 16)), -unpack_('>I4', entry, 26))
      over[#over + 1] = late
    end
  end
  save_owners()
  for _, late in ipairs(over) do
    call('ZREM', P .. 'late:' .. sub(late, 1, 16), sub(late, 17))
    call('ZREM', P .. 'late', late)
  end
  return #over > 0
end

-- When a tenant's log is to be looked at, given its oldest entry: at once, if it is
-- beyond its budget.
local function schedule(t, entry)
  if entry then
    call('ZADD', P .. 'logs', is_over(t) and 0 or unpack_('>I8', entry), t.id)
  else
    call('ZREM', P .. 'logs', t.id)
  end
end

-- Takes the oldest segment from a tenant's log; how many bytes that took of `budget`.
local function drop_oldest(t, entry, budget)
  local segment, key = sub(entry, 9, 21), P .. 'log:' .. t.id
  local done, read = finished(segment, unpack_('>I4', entry, 22), budget)
  if done then
    forget_segment(segment)
    keep(t, -unpack_('>I4', entry, 26))
    save_owners()
  else
    call('ZADD', P .. 'late:' .. t.id, t.left + 1, entry)
    call('ZADD', P .. 'late', 0, t.id .. entry)
  end
  call('LPOP', key)
  t.left = t.left + 1
  change(t)
  save_owners()
  schedule(t, call('LINDEX', key, 0))
  return read
end

-- Drops up to `bound` segments that are beyond their tenant's budget or past their age,
-- reading about `budget` bytes of their outcomes, and as many again of those that are
-- late; when there is more to do.
local function drop_old(now, bound, age, budget)
  local some = drop_late(now, bound, budget)
  for _ = 1, bound do
    if budget <= 0 then return now end
    local first = call('ZRANGE', P .. 'logs', 0, 0, 'WITHSCORES')
    local at = tonumber(first[2])
    if not at or (at > 0 and at + age > now) then return some and now or at and at + age end
    local t, entry = owner(first[1]), call('LINDEX', P .. 'log:' .. first[1], 0)
    if entry and (is_over(t) or unpack_('>I8', entry) + age <= now) then
      budget = budget - drop_oldest(t, entry, budget)
    else
      schedule(t, entry)
    end
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
