#!lua flags=allow-oom
-- Prolongs leases.
-- KEYS     the partition's state, from which all others are derived; the guard
-- ARGV[1]  now in ms, or empty
-- ARGV[2]  how long from now, in ms
-- ARGV[3…] lease and token
-- Returns  '1' or '0' for each: whether it holds
local deadline = clock(ARGV[1]) + tonumber(ARGV[2])
local names, reply = {}, {}
for i = 3, #ARGV do names[#names + 1] = sub(ARGV[i], 1, 13) end
for i, record in ipairs(hmget(P .. 'lease', names)) do
  local holds = record and sub(record, 1, 16) == sub(ARGV[i + 2], 14)
  if holds then
    call('HSET', P .. 'lease', names[i], sub(record, 1, 40) .. pack('>I8', deadline) .. sub(record, 49))
    call('ZADD', P .. 'deadlines', deadline, names[i])
  end
  reply[i] = holds and '1' or '0'
end
return table.concat(reply)
