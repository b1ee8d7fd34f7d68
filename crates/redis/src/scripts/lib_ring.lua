-- library: rings in memory, visited by the demands of one claim as their shares allow, and then written back
-- A ring: what was read of it (the first `had` of `items`), then what is to be visited
-- again; false where it was visited. At first `size` visits and one more are read, so that
-- its end is known. A walk is `at` an item, and passes over those that it may not visit.
local rings = {}
local function open_ring(key, size)
  local ring = rings[key]
  if not ring then
    local items = call('LRANGE', key, 0, size)
    ring = { key = key, items = items, had = #items, count = #items, whole = #items <= size, size = size, at = 0, passed = 0 }
    rings[key], rings[#rings + 1] = ring, ring
  end
  return ring
end

-- What a demand may be lent of each tenant, and its pool.
local function shares_of(demand)
  local each, count = unpack_('>I4I2', demand, 53)
  local share = { each = each, left = {}, pool = sub(demand, 59 + 20 * count) }
  for at = 59, 58 + 20 * count, 20 do share.left[sub(demand, at, at + 15)] = unpack_('>I4', demand, at + 16) end
  return share
end

-- Begins another walk.
local function rewind(ring) ring.at, ring.passed = 0, 0 end

-- Reads as many more of a ring as were passed over: the visits stay as many as they were.
local function read_on(ring)
  local items, room, again = ring.items, ring.size + 1 + ring.passed - ring.had, {}
  if room <= 0 then return end
  local found = call('LRANGE', ring.key, ring.had, ring.had + room - 1)
  for i = ring.had + 1, #items do again[#again + 1], items[i] = items[i], nil end
  for _, item in ipairs(found) do items[#items + 1] = item end
  for _, item in ipairs(again) do items[#items + 1] = item end
  ring.had, ring.count, ring.whole = ring.had + #found, ring.count + #found, #found < room
end

-- The next tenant in a ring of whom something may be lent; nil at its end.
local function next_open(ring, share)
  while true do
    if ring.at >= ring.had and not ring.whole then read_on(ring) end
    ring.at = ring.at + 1
    local tenant = ring.items[ring.at]
    if tenant == nil then return nil end
    if tenant and (share.left[tenant] or share.each) > 0 then return tenant end
    if tenant then ring.passed = ring.passed + 1 end
  end
end

-- Takes out what the walk is at.
local function visit(ring)
  ring.items[ring.at], ring.count = false, ring.count - 1
end

-- Puts an item behind all others.
local function append(ring, item)
  ring.items[#ring.items + 1], ring.count = item, ring.count + 1
end

-- Writes a ring back: what was visited leaves, what was passed over before it moves up to
-- its place; what is to be visited again is at the end, by a later claim what is in `later`.
local function close_ring(ring)
  local visited, kept, again = 0, {}, {}
  for i = 1, ring.had do
    if not ring.items[i] then visited = i end
  end
  for i = 1, visited do kept[#kept + 1] = ring.items[i] or nil end
  for i = ring.had + 1, #ring.items do again[#again + 1] = ring.items[i] or nil end
  for _, item in ipairs(ring.later or {}) do again[#again + 1] = item end
  if visited == 0 or (ring.had == 1 and #again == 1) then return end
  if #again > 0 then call('RPUSH', ring.key, unpack(again)) end
  for i = #kept, 1, -1 do call('LSET', ring.key, visited - #kept + i - 1, kept[i]) end
  call('LPOP', ring.key, visited - #kept)
end

-- The rings of queues come before the ring of tenants through which they were found:
-- no ring without its tenant's place.
local function close_rings()
  for i = #rings, 1, -1 do close_ring(rings[i]) end
end
