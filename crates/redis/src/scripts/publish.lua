#!lua
-- Stores one call's events, segment by segment, and queues their deliveries.
-- The segments were staged by plain SETs in front of this script.
-- KEYS     the partition's state, from which all others are derived; the guard
-- ARGV[1]  now in ms, or empty
-- ARGV[2]  stamp
-- ARGV[3]  how long idempotency keys are remembered, in ms
-- ARGV[4]  bytes that an event counts for beside its record; ARGV[5] that a delivery does
-- ARGV[6…] for each tenant: head (tenant, catalog version, bytes of the segment, events, budgets);
--          runs (subscription, count, indices); indices of the events that have an idempotency
--          key, and for each of these: tenant and key; content, event id and bytes of the record
-- Returns  status, now, for each tenant 's' version | 'x' which, used, budget | 'A' count | 'd' count results
local now, stamp, ttl = clock(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local per_event, per_delivery = tonumber(ARGV[4]), tonumber(ARGV[5])
local work, names, ids, owned, arg = {}, {}, {}, {}, 6
while ARGV[arg] do
  local keyed = ARGV[arg + 2]
  local tenant, runs = sub(ARGV[arg], 1, 16), ARGV[arg + 1]
  local name, at = stamp .. char(#work), 1
  work[#work + 1] = { tenant = tenant, name = name, head = ARGV[arg], runs = runs, keyed = keyed, first = arg + 3 }
  names[#names + 1], owned[#owned + 1] = name, tenant
  while at <= #runs do
    ids[#ids + 1] = tenant .. sub(runs, at, at + 3)
    at = at + 5 + byte(runs, at + 4)
  end
  arg = arg + 3 + 2 * #keyed
end

local function unstage(list)
  local keys = {}
  for _, name in ipairs(list) do keys[#keys + 1] = P .. 'new:' .. name end
  if #keys > 0 then call('UNLINK', unpack(keys)) end
end

local before = repeated('p', stamp, now)
if before then
  unstage(names)
  return before
end
preload(ids, owned)
local wanted = {}
for _, item in ipairs(work) do
  item.size, item.t = byte(item.head, 37), owner(item.tenant)
  item.stale = item.t.version ~= sub(item.head, 17, 32)
  local staged = unpack_('>I4', item.head, 33)
  item.bytes = staged - 17 - 5 * item.size
  if call('STRLEN', P .. 'new:' .. item.name) ~= staged then
    return redis.error_reply('REFUSED a segment was not staged')
  end
  for k = 0, item.stale and -1 or #item.keyed - 1 do wanted[#wanted + 1] = ARGV[item.first + 2 * k] end
end

-- What each wanted key stands for: content, event id, time.
local day, known, fresh = math.floor(now / ttl), {}, {}
if #wanted > 0 then
  for _, which in ipairs({ day, day - 1 }) do
    for i, row in ipairs(hmget(P .. 'idem:' .. which, wanted)) do
      local field = wanted[i]
      if row and not known[field] and now - unpack_('>I8', row, 33) < ttl then known[field] = row end
    end
  end
end

-- What is known of the k-th keyed event: which event used the key, if it is another one.
-- (A key stands for this very event where the call failed in its middle before.)
local function used(item, k)
  local row = known[ARGV[item.first + 2 * k]]
  return row and sub(row, 17, 32) ~= sub(ARGV[item.first + 2 * k + 1], 17, 32) and row
end

-- Whether some event of a tenant is new.
local function news(item)
  if #item.keyed < item.size then return true end
  for k = 0, #item.keyed - 1 do
    if not used(item, k) then return true end
  end
  return false
end

-- Results by index of a tenant's events that are not new; remembers the new ones.
local time = pack('>I8', now)
local function judge(item)
  local results
  for k = 0, #item.keyed - 1 do
    local field, value, row = ARGV[item.first + 2 * k], ARGV[item.first + 2 * k + 1], used(item, k)
    if row then
      results = results or {}
      local same = sub(row, 1, 16) == sub(value, 1, 16)
      results[byte(item.keyed, k + 1)] = (same and 'd' or 'k') .. sub(row, 17, 32)
      item.bytes = item.bytes - unpack_('>I4', value, 33)
    else
      row = sub(value, 1, 32) .. time
      known[field] = row
      fresh[#fresh + 1], fresh[#fresh + 2] = field, row
    end
  end
  return results
end

-- Notes a tenant's deliveries for their queues; how many. Queues join their rings in the order in
-- which they are first aimed at by an accepted event.
local entries = {}
local function enqueue(item, results)
  local at, total, runs, aimed = 1, 0, item.runs, {}
  while at <= #runs do
    local size, q = byte(runs, at + 4), queue(item.tenant .. sub(runs, at, at + 3))
    local indices = sub(runs, at + 5, at + 4 + size)
    at = at + 5 + size
    if results then
      indices = string.gsub(indices, '.', function(index) return results[byte(index)] and '' or nil end)
    end
    if q and q.paused == 0 and q.deleted == 0 and #indices > 0 then aimed[#aimed + 1] = { indices, q.id, q } end
  end
  if results then
    table.sort(aimed, function(a, b)
      local first, second = byte(a[1]), byte(b[1])
      return first < second or (first == second and a[2] < b[2])
    end)
  end
  for _, one in ipairs(aimed) do total = total + #one[1] end
  local charge = total > 0 and math.ceil(item.bytes / total) + per_delivery or 0
  for _, one in ipairs(aimed) do
    local indices, q = one[1], one[3]
    entries[#entries + 1] = { P .. 'que:' .. q.id, pack('>I4I2I4I2', q.epoch, 0, charge, 0) .. item.name .. indices }
    q.ready, q.owed = q.ready + #indices, q.owed + #indices * charge
    touch(q)
    admit(q)
  end
  owe(item.tenant, total * charge)
  return total
end

local function store(item)
  local refused = refusal(item.t, sub(item.head, 38))
  if refused and news(item) then return 'x' .. refused, true end
  local results = judge(item)
  local reply, rejected = { 'A', char(item.size) }, 0
  if results then
    reply = { 'd', char(item.size) }
    for index = 0, item.size - 1 do
      reply[#reply + 1] = results[index] or 'a'
      if results[index] then
        rejected = rejected + 1
        call('SETRANGE', P .. 'new:' .. item.name, 17 + 5 * index, '\0')
      end
    end
  end
  if rejected == item.size then return table.concat(reply), true end
  call('RENAME', P .. 'new:' .. item.name, P .. 'seg:' .. item.name)
  local total = enqueue(item, results)
  local bytes = item.bytes + (item.size - rejected) * per_event + total * per_delivery
  keep(item.t, bytes)
  local entry = pack('>I8', now) .. item.name .. pack('>I4I4', total, bytes)
  -- The second time, too: where the call failed in its middle before, it is the first.
  if call('RPUSH', P .. 'log:' .. item.tenant, entry) <= 2 then
    call('ZADD', P .. 'logs', 'NX', now, item.tenant)
  end
  return table.concat(reply), false
end

local replies, unused = {}, {}
for i, item in ipairs(work) do
  local reply, drop = 's' .. item.t.version, true
  if not item.stale then reply, drop = store(item) end
  replies[i] = reply
  if drop then unused[#unused + 1] = item.name end
end
unstage(unused)
if #dirty > 0 then save_queues() end
for _, entry in ipairs(entries) do call('RPUSH', entry[1], entry[2]) end
if #fresh > 0 then call('HSET', P .. 'idem:' .. day, 'pad', PAD, unpack(fresh)) end
save_owners()
for _, item in ipairs(work) do
  if is_over(item.t) then call('ZADD', P .. 'logs', 'XX', 0, item.tenant) end
end
return answer('p', stamp, now, table.concat(replies))
