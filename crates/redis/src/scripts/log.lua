#!lua flags=no-writes
-- Reads a page of a tenant's log, newest first.
-- KEYS     the partition's state, from which all others are derived; the guard
-- ARGV[1]  tenant
-- ARGV[2]  positions below this one, or empty: from the newest on
-- ARGV[3]  at most so many
-- Returns  position of the page's last entry, '1' if there are more, time of the oldest entry or '', the entries
local tenant, max = ARGV[1], tonumber(ARGV[3])
local key, late = P .. 'log:' .. tenant, P .. 'late:' .. tenant
local row = call('HGET', STATE, 't' .. tenant)
local popped, length = row and unpack_('>I8', row, 17) or 0, call('LLEN', key)
local below = ARGV[2] ~= '' and tonumber(ARGV[2]) or popped + length + 1
local entries, last = {}, below
local top = math.min(below - popped - 2, length - 1)
if top >= 0 then
  local bottom = math.max(top - max + 1, 0)
  local slice = call('LRANGE', key, bottom, top)
  for i = #slice, 1, -1 do entries[#entries + 1] = slice[i] end
  last = popped + bottom + 1
end
if #entries < max then
  local rest = call('ZREVRANGEBYSCORE', late, '(' .. string.format('%.0f', last), '-inf', 'WITHSCORES', 'LIMIT', 0, max - #entries)
  for i = 1, #rest, 2 do
    entries[#entries + 1] = rest[i]
    last = tonumber(rest[i + 1])
  end
end
local oldest = call('ZRANGE', late, 0, 0, 'WITHSCORES')
local first = oldest[1] or call('LINDEX', key, 0)
local bottom_most = oldest[2] and tonumber(oldest[2]) or popped + 1
local more = first and #entries > 0 and last > bottom_most
return { string.format('%.0f', last), more and '1' or '0', first and sub(first, 1, 8) or '', unpack(entries) }
