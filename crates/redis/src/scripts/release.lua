#!lua flags=allow-oom
-- Gives a holder's leases back, some at a time.
-- KEYS[1]  the partition's state; all others are derived from it
-- ARGV[1]  cursor: '0' at first
-- ARGV[2]  agent and session
-- ARGV[3]  leases to keep
-- Returns  deliveries given back, next cursor ('0' at the end)
local keep, mine, count = {}, {}, 0
for at = 1, #ARGV[3], 13 do keep[sub(ARGV[3], at, at + 12)] = true end
local page = call('HSCAN', P .. 'lease', ARGV[1], 'COUNT', 256)
for i = 1, #page[2], 2 do
  local lease, record = page[2][i], page[2][i + 1]
  if sub(record, 17, 40) == ARGV[2] and not keep[lease] then mine[#mine + 1] = lease end
end
table.sort(mine)
local records, opens = hmget(P .. 'lease', mine), hmget(P .. 'open', mine)
for i, lease in ipairs(mine) do
  if records[i] then count = count + take_back(lease, records[i], opens[i], 0) end
end
write_noted()
return { count, page[1] }
