#!lua flags=allow-oom
-- Lends queued deliveries, fairly over tenants and then their queues.
-- KEYS[1]  the partition's state; all others are derived from it
-- ARGV[1]  now in ms, or empty
-- ARGV[2]  stamp
-- ARGV[3]  deliveries that the call may lend
-- ARGV[4]  deliveries of one queue in one visit
-- ARGV[5…] one for each demand: token, agent, session, deliveries, lease in ms, pool
-- Returns  status, now, for each demand '0' | '1' deadline, number of runs, runs;
--          for each demand '0' | '1' whether there is more; the tenants' catalog versions
local now, stamp = clock(ARGV[1]), ARGV[2]
local budget, quantum = tonumber(ARGV[3]), tonumber(ARGV[4])
local before = repeated('c', stamp, now)
if before then return before end

-- A ring in memory: up to `size` visits and one more, so that its end is known.
local function open_ring(key, size)
  local items = call('LRANGE', key, 0, size)
  return { key = key, items = items, head = 1, had = #items }
end

-- Writes a ring back: what was visited leaves its front; what is to be visited
-- again is at its end.
local function close_ring(ring)
  local visited, again = math.min(ring.head - 1, ring.had), {}
  for i = math.max(ring.head, ring.had + 1), #ring.items do again[#again + 1] = ring.items[i] end
  if visited == 0 or (ring.had == 1 and #again == 1) then return end
  call('LPOP', ring.key, visited)
  if #again > 0 then call('RPUSH', ring.key, unpack(again)) end
end

-- Takes up to `room` deliveries from the head of a queue into `runs`.
local function take(q, room, runs)
  local key, left, popped, rest = P .. 'que:' .. q.id, room, 0, nil
  while left > 0 do
    -- A long run is the rule at saturation: few entries are fetched at first.
    local entries = call('LRANGE', key, popped, popped + math.min(left, 4 + popped) - 1)
    if #entries == 0 then break end
    for _, entry in ipairs(entries) do
      local size = #entry - 21
      local some = math.min(size, left)
      runs[#runs + 1] = { id = q.id, header = sub(entry, 1, 21), indices = sub(entry, 22, 21 + some) }
      left = left - some
      if some < size then
        rest = sub(entry, 1, 21) .. sub(entry, 22 + some)
      else
        popped = popped + 1
      end
      if left == 0 then break end
    end
  end
  if popped > 0 then call('LPOP', key, popped) end
  if rest then call('LSET', key, 0, rest) end
  local taken = room - left
  q.ready, q.flying = q.ready - taken, q.flying + taken
  touch(q)
  return taken
end

local function gather(pool, wanted)
  local runs, left, rings = {}, wanted, {}
  local tenants = open_ring(P .. 'tenants:' .. pool, wanted)
  while left > 0 and tenants.items[tenants.head] do
    local tenant = tenants.items[tenants.head]
    tenants.head = tenants.head + 1
    local ring = rings[tenant]
    if not ring then
      ring = open_ring(P .. 'queues:' .. tenant .. pool, wanted)
      rings[tenant] = ring
    end
    local q = queue(tenant .. ring.items[ring.head])
    ring.head = ring.head + 1
    local alone = tenants.had == 1 and ring.had == 1
    if q then
      local room = math.min(left, q.ready, q.window - q.flying, alone and left or quantum)
      if room > 0 then left = left - take(q, room, runs) end
      if room > 0 and q.ready > 0 and q.flying < q.window then
        ring.items[#ring.items + 1] = sub(q.id, 17)
      else
        q.ring = 0
        touch(q)
      end
    end
    if ring.items[ring.head] then tenants.items[#tenants.items + 1] = tenant end
  end
  for _, ring in pairs(rings) do close_ring(ring) end
  close_ring(tenants)
  return runs, wanted - left
end

-- What the retried deliveries among the runs remember, by their names.
local function retries(runs)
  local names, found = {}, {}
  for _, run in ipairs(runs) do
    if byte(run.header, 5) == 1 then
      run.name = run.id .. sub(run.header, 7, 21) .. run.indices
      names[#names + 1] = run.name
    end
  end
  for i, value in ipairs(hmget(P .. 'rec', names)) do found[names[i]] = sub(value or '', 2) end
  return found
end

local seen, tenants = {}, {}
local function lend(demand, ordinal, runs)
  local deadline = now + unpack_('>I8', demand, 45)
  local lease = stamp .. char(ordinal)
  local rows, remembered = {}, retries(runs)
  for i, run in ipairs(runs) do
    local row = run.id .. run.header .. char(#run.indices) .. run.indices
    if run.name then row = row .. pack('>I4', #remembered[run.name]) .. remembered[run.name] end
    rows[i] = row
    local tenant = sub(run.id, 1, 16)
    if not seen[tenant] then
      seen[tenant] = true
      tenants[#tenants + 1] = tenant
    end
  end
  local text = table.concat(rows)
  call('HSET', P .. 'lease', lease, sub(demand, 1, 40) .. pack('>I8', deadline) .. text)
  call('ZADD', P .. 'deadlines', deadline, lease)
  return '1' .. pack('>I8I2', deadline, #runs) .. text
end

local reply, more = {}, {}
for i = 5, #ARGV do
  local demand = ARGV[i]
  local wanted = math.min(unpack_('>I4', demand, 41), budget)
  local runs, taken = gather(sub(demand, 53), wanted)
  budget = budget - taken
  reply[#reply + 1] = taken > 0 and lend(demand, i - 5, runs) or '0'
end
for i = 5, #ARGV do more[#more + 1] = tostring(call('EXISTS', P .. 'tenants:' .. sub(ARGV[i], 53))) end
if #dirty > 0 then save_queues() end
local fields, versions = {}, {}
for i, tenant in ipairs(tenants) do fields[i] = 't' .. tenant end
for i, row in ipairs(hmget(STATE, fields)) do
  versions[i] = tenants[i] .. (row and sub(row, 1, 16) or string.rep('\0', 16))
end
return answer('c', stamp, now, table.concat(reply) .. table.concat(more) .. table.concat(versions))
