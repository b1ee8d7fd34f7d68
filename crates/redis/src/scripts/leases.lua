#!lua flags=no-writes
-- Reads leases.
-- KEYS     the partition's state, from which all others are derived; the guard
-- ARGV     leases
-- Returns  for each lease its record and what is open of it; nothing for one that is over
local reply = {}
local records, opens = hmget(P .. 'lease', ARGV), hmget(P .. 'open', ARGV)
for i, record in ipairs(records) do reply[i] = record and { record, opens[i] or '' } or {} end
return reply
