-- library: rings in memory, visited by the demands of one claim and then written back
-- A ring, read once: up to `size` visits and one more, so that its end is known.
local rings = {}
local function open_ring(key, size)
  local ring = rings[key]
  if not ring then
    local items = call('LRANGE', key, 0, size)
    ring = { key = key, items = items, head = 1, had = #items }
    rings[key], rings[#rings + 1] = ring, ring
  end
  return ring
end

-- Entries still to be visited, as far as they were read.
local function length(ring) return #ring.items - ring.head + 1 end

-- Writes a ring back: what was visited leaves its front; what is to be visited
-- again is at its end, by a later claim what is in `later`.
local function close_ring(ring)
  local visited, again = math.min(ring.head - 1, ring.had), {}
  for i = math.max(ring.head, ring.had + 1), #ring.items do again[#again + 1] = ring.items[i] end
  for _, item in ipairs(ring.later or {}) do again[#again + 1] = item end
  if visited == 0 or (ring.had == 1 and #again == 1) then return end
  if #again > 0 then call('RPUSH', ring.key, unpack(again)) end
  call('LPOP', ring.key, visited)
end

-- The rings of queues come before the ring of tenants through which they were found:
-- no ring without its tenant's place.
local function close_rings()
  for i = #rings, 1, -1 do close_ring(rings[i]) end
end
