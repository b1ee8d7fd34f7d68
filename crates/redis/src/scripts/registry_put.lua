#!lua flags=allow-oom
-- Writes or removes a registry record.
-- KEYS[1]  the records by key
-- KEYS[2]  their keys in order
-- KEYS[3]  the guard
-- ARGV[1]  key
-- ARGV[2]  value; none: remove it
-- Returns  1
if ARGV[2] then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
  redis.call('ZADD', KEYS[2], 0, ARGV[1])
else
  redis.call('HDEL', KEYS[1], ARGV[1])
  -- Also where it is gone already something is written, for WAIT to wait for.
  redis.call('ZADD', KEYS[2], 0, ARGV[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
end
return 1
