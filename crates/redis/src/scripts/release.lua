#!lua flags=allow-oom
-- Gives holders' leases back, some at a time.
-- KEYS     the partition's state, from which all others are derived; the guard
-- ARGV[1]  cursor: '0' at first
-- ARGV[2]  holders: agent and session of each
-- ARGV[3]  leases to keep
-- ARGV[4]  deliveries after which it stops
-- Returns  deliveries given back, next cursor, 1 if there may be more
local holders, keep, mine, count, bound = {}, {}, {}, 0, tonumber(ARGV[4])
for at = 1, #ARGV[2], 24 do holders[sub(ARGV[2], at, at + 23)] = true end
for at = 1, #ARGV[3], 13 do keep[sub(ARGV[3], at, at + 12)] = true end
local page, records = call('HSCAN', P .. 'lease', ARGV[1], 'COUNT', 128), {}
for i = 1, #page[2], 2 do
  local lease, record = page[2][i], page[2][i + 1]
  if holders[sub(record, 17, 40)] and not keep[lease] and not records[lease] then
    mine[#mine + 1], records[lease] = lease, record
  end
end
table.sort(mine)
local opens, done = hmget(P .. 'open', mine), 0
for i, lease in ipairs(mine) do
  if count >= bound then break end
  count, done = count + take_back(lease, records[lease], opens[i], 0), i
end
write_noted()
-- What this page still holds is found there again.
if done < #mine then return { count, ARGV[1], 1 } end
return { count, page[1], page[1] ~= '0' and 1 or 0 }
