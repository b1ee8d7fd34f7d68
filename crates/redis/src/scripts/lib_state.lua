-- library: the clock, lane records, queue records and the rings (formats: layout.rs)
--
-- Redis keeps what a script wrote that fails in its middle. All scripts write in an
-- order in which nothing is then lost, nor stuck once the call is repeated: what is
-- new comes before the end of what it replaces; a queue's count of what is queued is
-- written before entries are added and after they are taken, hence never too low (a
-- claim that finds less puts it right); its count of what is lent, after the lease is
-- there and before it ends, hence never too high; and a lane's record last, but for
-- claims, which may be answered without a lease: what was to be lent stays queued.
local call, sub, byte, char = redis.call, string.sub, string.byte, string.char
local pack, unpack_ = struct.pack, struct.unpack
local STATE = KEYS[1]
local P = sub(STATE, 1, -6)
local PAD = string.rep('.', 65)

local function clock(given)
  if given ~= '' then return tonumber(given) end
  local time = call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The answer to a call that was executed before, or that came too late; else nil. What
-- was executed before is written again: the repeat may come over another connection,
-- which would otherwise have nothing for WAIT to wait for.
local function repeated(kind, stamp, now)
  local field = kind .. sub(stamp, 1, 8)
  local row = call('HGET', P .. 'lanes', field)
  if not row then return nil end
  local last, wanted = unpack_('>I4', row), unpack_('>I4', stamp, 9)
  if wanted > last then return nil end
  if wanted < last then return '<' .. pack('>I8', now) end
  call('HSET', P .. 'lanes', field, row)
  return '=' .. pack('>I8', now) .. sub(row, 13)
end

local function answer(kind, stamp, now, reply)
  local time = pack('>I8', now)
  call('HSET', P .. 'lanes', kind .. sub(stamp, 1, 8), sub(stamp, 9, 12) .. time .. reply)
  return '=' .. time .. reply
end

-- Calls a command with any number of further arguments, some at a time: Lua's
-- stack holds fewer than 8,000.
local function each(size, values, action)
  for first = 1, #values, size do
    action(unpack(values, first, math.min(first + size - 1, #values)))
  end
end

local function hmget(key, fields)
  local found = {}
  each(4000, fields, function(...)
    for _, value in ipairs(call('HMGET', key, ...)) do found[#found + 1] = value end
  end)
  return found
end

local queues, tenant_rows, dirty = {}, {}, {}

local function decode(id, raw)
  if not raw then return false end
  local q = { id = id, pool = sub(raw, 28) }
  q.window, q.flying, q.ready, q.epoch, q.paused, q.deleted, q.ring, q.owed = unpack_('>I4I4I4I4BBBI8', raw)
  return q
end

-- Reads queues with their tenants' rows, and rows of further tenants, at once.
local function preload(ids, owners)
  local fields, wanted = {}, {}
  local function want(known, kind, id)
    if known[id] ~= nil then return end
    known[id] = false
    wanted[#wanted + 1], fields[#fields + 1] = id, kind .. id
  end
  for _, id in ipairs(ids) do
    want(queues, 'q', id)
    want(tenant_rows, 't', sub(id, 1, 16))
  end
  for _, id in ipairs(owners or {}) do want(tenant_rows, 't', id) end
  for i, raw in ipairs(hmget(STATE, fields)) do
    local id = wanted[i]
    if #id == 16 then tenant_rows[id] = raw else queues[id] = decode(id, raw) end
  end
end

-- The queue (tenant, subscription); false if there is none.
local function queue(id)
  if queues[id] == nil then preload({ id }) end
  return queues[id]
end

local function touch(q)
  if not q.dirty then
    q.dirty = true
    dirty[#dirty + 1] = q
  end
end

-- Puts a queue that has become eligible at the end of its ring.
local function admit(q)
  if q.ring ~= 0 or q.paused ~= 0 or q.deleted ~= 0 or q.ready == 0 or q.flying >= q.window then return end
  q.ring = 1
  touch(q)
  local tenant = sub(q.id, 1, 16)
  local ring, tenants = P .. 'queues:' .. tenant .. q.pool, P .. 'tenants:' .. q.pool
  if call('RPUSHX', ring, sub(q.id, 17)) > 0 then return end
  if call('RPUSHX', tenants, tenant) == 0 then
    call('SADD', P .. 'pools', q.pool)
    call('RPUSH', tenants, tenant)
    call('PUBLISH', P .. 'hints', 'd' .. q.pool)
  end
  -- Last: a ring that is there is one that its tenant's place leads to.
  call('RPUSH', ring, sub(q.id, 17))
end

-- Takes a queue out of its ring, wherever it stands there.
local function expel(q)
  if q.ring == 0 then return end
  q.ring = 0
  touch(q)
  local tenant = sub(q.id, 1, 16)
  local ring = P .. 'queues:' .. tenant .. q.pool
  call('LREM', ring, 1, sub(q.id, 17))
  if call('EXISTS', ring) == 0 then call('LREM', P .. 'tenants:' .. q.pool, 1, tenant) end
end

-- Admits what became eligible and writes the touched queues back; a deleted one
-- that is empty and idle is forgotten. Writes `rows`, more fields and values, too.
local function save_queues(rows)
  local gone = {}
  rows = rows or {}
  for _, q in ipairs(dirty) do
    q.flying, q.ready, q.owed = math.max(q.flying, 0), math.max(q.ready, 0), math.max(q.owed, 0)
    admit(q)
    if q.deleted ~= 0 and q.ready == 0 and q.flying == 0 then
      gone[#gone + 1] = 'q' .. q.id
    else
      rows[#rows + 1] = 'q' .. q.id
      rows[#rows + 1] = pack('>I4I4I4I4BBBI8', q.window, q.flying, q.ready, q.epoch, q.paused, q.deleted, q.ring, q.owed) .. q.pool
    end
  end
  each(4000, rows, function(...) call('HSET', STATE, ...) end)
  each(4000, gone, function(...) call('HDEL', STATE, ...) end)
end
