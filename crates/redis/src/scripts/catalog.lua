#!lua flags=no-writes
-- Reads a tenant's subscriptions unless they are known.
-- KEYS     the partition's state, from which all others are derived; the guard
-- ARGV[1]  tenant
-- ARGV[2]  the version that is known, or empty
-- Returns  the version, then number and row (version, record) of each; nothing if it is known
local row = call('HGET', STATE, 't' .. ARGV[1])
local version = row and sub(row, 1, 16) or string.rep('\0', 16)
if version == ARGV[2] then return {} end
local reply = call('HGETALL', P .. 'cat:' .. ARGV[1])
table.insert(reply, 1, version)
return reply
