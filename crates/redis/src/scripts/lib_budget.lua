-- library: what tenants have of their budgets (row: layout.rs)
--
-- What a tenant has is written after what it counts is there, and before that ends. So
-- a script that fails in its middle, and is repeated, leaves it too low at most; and as
-- it never goes below zero, it is right again when nothing is left to count.
local owners, changed, UNTOLD = {}, {}, string.rep('\0', 16)

-- A tenant; one without any row is as if it had nothing.
local function owner(id)
  local t = owners[id]
  if t then return t end
  preload({}, { id })
  local row = tenant_rows[id] or ''
  row = row .. string.rep('\0', 56 - #row)
  t = { id = id, version = sub(row, 1, 16), told = sub(row, 41, 56) }
  t.left, t.pending, t.log = unpack_('>I8I8I8', row, 17)
  owners[id] = t
  return t
end

local function change(t)
  if not t.changed then changed[#changed + 1] = t end
  t.changed = true
end

-- Adds bytes to what the unfinished deliveries of a queue's or log's tenant take.
local function owe(id, bytes)
  if bytes == 0 then return end
  local t = owner(sub(id, 1, 16))
  t.pending = math.max(t.pending + bytes, 0)
  change(t)
end

-- Adds bytes to what a tenant's log takes.
local function keep(t, bytes)
  t.log = math.max(t.log + bytes, 0)
  change(t)
end

-- Whether a log is beyond the budget that was told last.
local function is_over(t)
  return t.told ~= UNTOLD and t.log > unpack_('>I8', t.told, 9)
end

-- Notes a tenant's budgets; which of them refuses more events (0 pending, 1 log), what
-- is used of it and what it is; nil if none does.
local function refusal(t, told)
  if t.told ~= told then
    t.told = told
    change(t)
  end
  local pending, log = unpack_('>I8I8', told)
  if t.pending >= pending then return pack('>BI8I8', 0, t.pending, pending) end
  if t.log >= pending + log then return pack('>BI8I8', 1, t.log, pending + log) end
end

-- The changed tenants' fields and values.
local function owner_rows()
  local rows = {}
  for _, t in ipairs(changed) do
    rows[#rows + 1] = 't' .. t.id
    rows[#rows + 1] = t.version .. pack('>I8I8I8', t.left, t.pending, t.log) .. t.told
    t.changed = false
  end
  changed = {}
  return rows
end

local function save_owners()
  local rows = owner_rows()
  if #rows > 0 then call('HSET', STATE, 'pad', PAD, unpack(rows)) end
end
