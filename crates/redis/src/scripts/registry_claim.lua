#!lua flags=allow-oom
-- Writes a registry record unless there is one.
-- KEYS[1]  the records by key
-- KEYS[2]  their keys in order
-- ARGV[1]  key
-- ARGV[2]  value
-- Returns  the value that is there then
local found = redis.call('HGET', KEYS[1], ARGV[1])
if found then
  return found
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], 0, ARGV[1])
return ARGV[2]
