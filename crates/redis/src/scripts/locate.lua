#!lua flags=no-writes
-- Finds unfinished deliveries that have a record, wait or are lent.
-- KEYS[1]  the partition's state; all others are derived from it
-- ARGV     names of deliveries
-- Returns  for each: its record or '', when it is due or '', 1 if it is lent
local reply, leases = {}, nil
local records = hmget(P .. 'rec', ARGV)

-- Whether a delivery is lent. Only asked where its queue has something in flight.
local function lent(name)
  leases = leases or call('HGETALL', P .. 'lease')
  for i = 2, #leases, 2 do
    if string.find(leases[i], sub(name, 23, 35), 49, true) then
      local open = call('HGET', P .. 'open', leases[i - 1])
      for _, run in ipairs(runs_of(leases[i])) do
        local at = run.name == sub(name, 1, 35)
          and string.find(leases[i], sub(name, 36), run.at, true)
        if at and at < run.at + run.size then
          if not open or sub(open, run.base + at - run.at + 1, run.base + at - run.at + 1) == '1' then return 1 end
        end
      end
    end
  end
  return 0
end

for i, name in ipairs(ARGV) do
  local q = queue(sub(name, 1, 20))
  local is = q and q.flying > 0 and lent(name) or 0
  local known = q and (q.deleted == 0 or is == 1)
  local due = known and call('ZSCORE', P .. 'wait', name)
  reply[i] = { known and records[i] or '', due or '', is }
end
return reply
