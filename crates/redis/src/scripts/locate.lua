#!lua flags=no-writes
-- Finds unfinished deliveries that have a record, wait or are lent. Leases are looked
-- through some at a time, for all deliveries at once.
-- KEYS     the partition's state, from which all others are derived; the guard
-- ARGV[1]  cursor among the leases: '0' at first
-- ARGV[2…] names of deliveries
-- Returns  next cursor ('0' at the end), for each: its record or '', when it is due or '',
--          1 if it is lent under one of these leases
local names, ids = {}, {}
for i = 2, #ARGV do
  names[i - 1], ids[i - 1] = ARGV[i], sub(ARGV[i], 1, 20)
end
preload(ids)

-- Who is looked for, by run and index: only where the queue has something in flight.
local wanted, some, lent = {}, false, {}
for i, name in ipairs(names) do
  local q = queue(ids[i])
  if q and q.flying > 0 then
    local run = sub(name, 1, 35)
    wanted[run], some = wanted[run] or {}, true
    wanted[run][byte(name, 36)] = i
  end
end

local function look(lease, record)
  local open
  local at, base = 49, 0
  while at <= #record do
    local size = byte(record, at + 45)
    local places = wanted[sub(record, at, at + 19) .. sub(record, at + 30, at + 44)]
    for k = 1, places and size or 0 do
      local i = places[byte(record, at + 45 + k)]
      if i then
        if open == nil then open = call('HGET', P .. 'open', lease) end
        if not open or byte(open, base + k) == 49 then lent[i] = true end
      end
    end
    local recorded = byte(record, at + 24) == 1
    at, base = at + 46 + size, base + size
    if recorded then at = at + 4 + unpack_('>I4', record, at) end
  end
end

local cursor = '0'
if some then
  local page = call('HSCAN', P .. 'lease', ARGV[1], 'COUNT', 64)
  cursor = page[1]
  for i = 1, #page[2], 2 do look(page[2][i], page[2][i + 1]) end
end

local reply, records = { cursor }, hmget(P .. 'rec', names)
for i, name in ipairs(names) do
  local q = queue(ids[i])
  local known = q and (q.deleted == 0 or lent[i])
  local due = known and call('ZSCORE', P .. 'wait', name)
  reply[i + 1] = { known and records[i] or '', due or '', lent[i] and 1 or 0 }
end
return reply
