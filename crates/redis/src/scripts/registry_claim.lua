#!lua flags=allow-oom
-- Writes a registry record unless there is one.
-- KEYS[1]  the records by key
-- KEYS[2]  their keys in order
-- KEYS[3]  the guard
-- ARGV[1]  key
-- ARGV[2]  value
-- Returns  the value that is there then
-- What is found is written again: the caller is promised that it is kept, and WAIT
-- waits only for what its own connection wrote.
local value = redis.call('HGET', KEYS[1], ARGV[1]) or ARGV[2]
redis.call('HSET', KEYS[1], ARGV[1], value)
redis.call('ZADD', KEYS[2], 0, ARGV[1])
return value
