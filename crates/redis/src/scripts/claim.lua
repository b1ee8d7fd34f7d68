#!lua flags=allow-oom
-- Lends queued deliveries, fairly over tenants and then their queues.
-- KEYS     the partition's state, from which all others are derived; the guard
-- ARGV[1]  now in ms, or empty
-- ARGV[2]  stamp
-- ARGV[3]  deliveries that the call may lend
-- ARGV[4]  deliveries of one queue in one visit
-- ARGV[5…] one for each demand: token, agent, session, deliveries, lease in ms, deliveries
--          of one tenant, number of shares, shares (tenant, deliveries), pool
-- Returns  status, now, for each demand '0' | '1' deadline, number of runs, runs;
--          for each demand '0' | '1' whether there is more; the tenants' catalog versions
local now, stamp = clock(ARGV[1]), ARGV[2]
local budget, quantum = tonumber(ARGV[3]), tonumber(ARGV[4])
local before = repeated('c', stamp, now)
if before then return before end

-- Deliveries wanted by all demands, as far as the call may lend them.
local size = 0
for i = 5, #ARGV do size = math.min(size + unpack_('>I4', ARGV[i], 41), budget) end

-- Reads up to `room` deliveries from the head of a queue into `runs`, and notes what
-- is to be taken off it: whole entries, and what is left of the next one.
local heads = {}
local function take(q, room, runs)
  local head, left = heads[q.id], room
  if not head then
    head = { key = P .. 'que:' .. q.id, popped = 0 }
    heads[q.id], heads[#heads + 1] = head, head
  end
  while left > 0 do
    -- A long run is the rule at saturation: few entries are fetched at first.
    local first = head.popped
    local entries = call('LRANGE', head.key, first, first + math.min(left, 4 + first) - 1)
    if #entries == 0 then break end
    entries[1], head.rest = head.rest or entries[1], nil
    for _, entry in ipairs(entries) do
      local size = #entry - 25
      local some = math.min(size, left)
      runs[#runs + 1] = { id = q.id, header = sub(entry, 1, 25), indices = sub(entry, 26, 25 + some) }
      left, q.owed = left - some, q.owed - some * unpack_('>I4', entry, 7)
      if some < size then
        head.rest = sub(entry, 1, 25) .. sub(entry, 26 + some)
      else
        head.popped = head.popped + 1
      end
      if left == 0 then break end
    end
  end
  local taken = room - left
  q.ready, q.flying = q.ready - taken, q.flying + taken
  touch(q)
  return taken
end

local function gather(tenants, share, wanted)
  local runs, left, single = {}, wanted, tenants.count == 1
  rewind(tenants)
  while left > 0 do
    local tenant = next_open(tenants, share)
    if not tenant then break end
    visit(tenants)
    local ring = open_ring(P .. 'queues:' .. tenant .. share.pool, size)
    local number, may = ring.items[ring.at + 1], share.left[tenant] or share.each
    local alone = single and ring.count == 1
    local q = number and queue(tenant .. number)
    if number then
      ring.at = ring.at + 1
      visit(ring)
    end
    if q then
      local room = math.min(left, may, q.ready, q.window - q.flying, alone and left or quantum)
      if room > 0 then
        local taken = take(q, room, runs)
        left, share.left[tenant] = left - taken, may - taken
        -- The list is the truth: a count above it would be visited for ever.
        if taken < room then q.ready = 0 end
      end
      if room > 0 and q.ready > 0 and q.flying < q.window then
        append(ring, sub(q.id, 17))
      else
        q.ring = 0
        touch(q)
      end
    end
    if ring.items[ring.at + 1] then
      append(tenants, tenant)
    elseif number and ring.had > size then
      -- Queues whose counts were too high: behind them are some that were not read.
      tenants.later = tenants.later or {}
      table.insert(tenants.later, tenant)
    end
  end
  return runs, wanted - left
end

-- What the retried deliveries among the runs remember, by their names.
local function retries(runs)
  local names, found = {}, {}
  for _, run in ipairs(runs) do
    if byte(run.header, 5) == 1 then
      run.name = run.id .. sub(run.header, 11) .. run.indices
      names[#names + 1] = run.name
    end
  end
  for i, value in ipairs(hmget(P .. 'rec', names)) do found[names[i]] = sub(value or '', 6) end
  return found
end

local seen, tenants, leases, deadlines = {}, {}, {}, {}
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
  leases[#leases + 1], leases[#leases + 2] = lease, sub(demand, 1, 40) .. pack('>I8', deadline) .. text
  deadlines[#deadlines + 1], deadlines[#deadlines + 2] = deadline, lease
  return '1' .. pack('>I8I2', deadline, #runs) .. text
end

local reply, more = {}, {}
local left, shares = budget, {}
for i = 5, #ARGV do
  local demand, share = ARGV[i], shares_of(ARGV[i])
  local wanted = math.min(unpack_('>I4', demand, 41), left)
  local runs, taken = gather(open_ring(P .. 'tenants:' .. share.pool, size), share, wanted)
  left, shares[#shares + 1] = left - taken, share
  reply[#reply + 1] = taken > 0 and lend(demand, i - 5, runs) or '0'
end
for i, share in ipairs(shares) do
  local ring = open_ring(P .. 'tenants:' .. share.pool, size)
  rewind(ring)
  local open = next_open(ring, share) or not ring.whole
  for _, tenant in ipairs(ring.later or {}) do open = open or (share.left[tenant] or share.each) > 0 end
  more[i] = open and '1' or '0'
end
local versions = {}
for i, tenant in ipairs(tenants) do
  local row = tenant_rows[tenant]
  versions[i] = tenant .. (row and sub(row, 1, 16) or string.rep('\0', 16))
end
local told = answer('c', stamp, now, table.concat(reply) .. table.concat(more) .. table.concat(versions))
if #leases > 0 then
  call('ZADD', P .. 'deadlines', unpack(deadlines))
  call('HSET', P .. 'lease', unpack(leases))
end
for _, head in ipairs(heads) do
  if head.popped > 0 then call('LPOP', head.key, head.popped) end
  if head.rest then call('LSET', head.key, 0, head.rest) end
end
if #dirty > 0 then save_queues() end
close_rings()
return told
