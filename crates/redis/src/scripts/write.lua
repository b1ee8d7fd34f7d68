#!lua flags=allow-oom
-- Changes one subscription, its tenant's catalog version and its queue.
-- KEYS     the partition's state, from which all others are derived; the guard
-- ARGV[1]  tenant
-- ARGV[2]  subscription
-- ARGV[3]  the version that must be there, or empty: none, nor ever one before
-- ARGV[4]  nonce
-- ARGV[5]  subscriptions that a tenant may have
-- ARGV[6]  the version that the catalog must have, or empty: any
-- ARGV[7…] to delete: nothing; to put: record, window, '1' if paused, pool
-- Returns  'd' version | 'c' version or nothing: a conflict | 'm': too many | 'o': another catalog
local tenant, number, expect, nonce = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local NEVER = string.rep('\0', 16)
local put, catalog, graves = #ARGV > 6, P .. 'cat:' .. tenant, P .. 'gone:' .. tenant
local row, grave = call('HGET', catalog, number), call('HGET', graves, number)
local current = row and sub(row, 1, 16)
-- What was done before is written again, for WAIT (lib_state.lua).
if not put and not current and grave then
  call('HSET', graves, number, grave)
  return 'd' .. grave
end
if put and current and sub(current, 9) == nonce then
  call('HSET', catalog, number, row)
  return 'd' .. current
end
local fits
if expect == '' then fits = not current and not grave else fits = current == expect end
if not fits or not (current or put) then return 'c' .. (current or '') end
local id, t = tenant .. number, owner(tenant)
-- A catalog that has this nonce was changed by an earlier run of this call, which ended early.
if ARGV[6] ~= '' and ARGV[6] ~= t.version and sub(t.version, 9) ~= nonce then return 'o' end
if not current and call('HLEN', catalog) >= tonumber(ARGV[5]) then return 'm' end

local function after(version) return pack('>I8', unpack_('>I8', version) + 1) .. nonce end

-- The subscription's own row is written last: it is by that row that a repeat knows
-- that all is done, and every write before it may be made twice.
local q = queue(id)
if put then
  if not q then
    q = { id = id, flying = 0, ready = 0, epoch = 1, deleted = 0, ring = 0, owed = 0 }
    queues[id] = q
  end
  expel(q)
  q.window, q.paused, q.pool = tonumber(ARGV[8]), tonumber(ARGV[9]), ARGV[10]
  touch(q)
elseif q and q.deleted == 0 then
  expel(q)
  -- What waits here has ended, although `tick` has yet to clear it away.
  owe(id, -q.owed)
  q.deleted, q.epoch, q.owed = 1, q.epoch + 1, 0
  touch(q)
  if q.ready > 0 then
    call('LREM', P .. 'clearing', 0, id)
    call('RPUSH', P .. 'clearing', id)
  end
end
if sub(t.version, 9) ~= nonce then
  t.version = after(t.version)
  change(t)
end
save_queues({ 'pad', PAD, unpack(owner_rows()) })
local version = current
if put then
  version = after(current or NEVER)
  call('HSET', catalog, number, version .. ARGV[7])
else
  call('HSET', graves, number, current)
  call('HDEL', P .. 'health', 'h' .. id, 'e' .. id, '0' .. id, '1' .. id)
  call('HDEL', catalog, number)
end
call('PUBLISH', P .. 'hints', 'c' .. tenant)
return 'd' .. version
