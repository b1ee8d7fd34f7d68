#!lua flags=no-writes
-- Lays the partition open, in one consistent view.
-- KEYS     the partition's state, from which all others are derived; the guard
-- ARGV     none
-- Returns  state, lease, open, rec and (at the end) health as flat lists; wait and deadlines with scores; the log's entries behind their tenants;
--          queue and its entries in turn; ring and its entries in turn; outcomes by segment in turn
local function all(key) return call('HGETALL', P .. key) end
local function scored(key) return call('ZRANGE', P .. key, 0, -1, 'WITHSCORES') end
local state, entries, lists, rings, outcomes = all('state'), {}, {}, {}, {}
local tenants = {}
for i = 1, #state, 2 do
  local field = state[i]
  if sub(field, 1, 1) == 'q' and #field == 21 then
    lists[#lists + 1] = sub(field, 2)
    lists[#lists + 1] = call('LRANGE', P .. 'que:' .. sub(field, 2), 0, -1)
  elseif sub(field, 1, 1) == 't' and #field == 17 then
    tenants[#tenants + 1] = sub(field, 2)
  end
end
for _, tenant in ipairs(call('ZRANGE', P .. 'logs', 0, -1)) do
  for _, entry in ipairs(call('LRANGE', P .. 'log:' .. tenant, 0, -1)) do entries[#entries + 1] = tenant .. entry end
end
for _, late in ipairs(call('ZRANGE', P .. 'late', 0, -1)) do entries[#entries + 1] = late end
for _, entry in ipairs(entries) do
  outcomes[#outcomes + 1] = call('GET', P .. 'out:' .. sub(entry, 25, 37)) or ''
end
for _, pool in ipairs(call('SMEMBERS', P .. 'pools')) do
  for _, tenant in ipairs(call('LRANGE', P .. 'tenants:' .. pool, 0, -1)) do
    rings[#rings + 1] = tenant .. pool
    rings[#rings + 1] = call('LRANGE', P .. 'queues:' .. tenant .. pool, 0, -1)
  end
end
return { state, all('lease'), all('open'), all('rec'), scored('wait'), scored('deadlines'), entries, lists, rings, outcomes, all('health') }
