#!lua flags=allow-oom
-- Takes tokens out of buckets: rates.rs of the store's crate has the arithmetic.
-- KEYS     the partition's state, from which all others are derived; the guard
-- ARGV[1]  now in ms, or empty
-- ARGV[2]  full buckets to remove
-- ARGV[3…] for each bucket: name, tokens per second, tokens of a full one, tokens wanted
-- Returns  for each: tokens granted 4, microseconds until it is full 8
local key, now = P .. 'rates', clock(ARGV[1]) * 1000
local reply = {}
for i = 3, #ARGV, 4 do
  local name, rate, burst, wanted = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
  local most, before = math.ceil(burst * 1000000 / rate), tonumber(call('ZSCORE', key, name) or nil)
  local full = math.min(math.max(before or 0, now), now + most)
  local left = math.min(math.floor((most - (full - now)) * rate / 1000000), burst)
  local granted = math.min(wanted, left)
  full = full + math.ceil(granted * 1000000 / rate)
  if full ~= before then call('ZADD', key, string.format('%.0f', full), name) end
  reply[#reply + 1] = pack('>I4I8', granted, full - now)
end
local gone = call('ZRANGEBYSCORE', key, '-inf', string.format('%.0f', now), 'LIMIT', 0, ARGV[2])
if #gone > 0 then call('ZREM', key, unpack(gone)) end
return table.concat(reply)
