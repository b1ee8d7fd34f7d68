#!lua
-- Queues a new generation of a delivery.
-- KEYS     the partition's state, from which all others are derived; the guard
-- ARGV[1]  tenant and subscription
-- ARGV[2]  generation, segment, index
-- ARGV[3]  what the delivery remembers
-- ARGV[4]  bytes that a delivery counts for beside its event
-- Returns  1, or 0 if the subscription or the event is gone
local id, place = ARGV[1], ARGV[2]
local segment, index = sub(place, 3, 15), byte(place, 16)
local q = queue(id)
local text = call('GETRANGE', P .. 'seg:' .. segment, 0, 16)
if not q or q.deleted ~= 0 or #text < 17 or sub(text, 1, 16) ~= sub(id, 1, 16) then return 0 end
local row = call('GETRANGE', P .. 'seg:' .. segment, 17 + 5 * index, 21 + 5 * index)
if index >= byte(text, 17) or sub(row, 1, 1) ~= '\1' then return 0 end
-- It is by the generation made last that a repeat knows that all is done: also when
-- the delivery has ended in the meantime.
local made, generation = P .. 'made:' .. segment, unpack_('>I2', place)
local last = call('HGET', made, sub(id, 17) .. sub(place, 16))
if generation <= (last and unpack_('>I2', last) or 0) then
  -- Written again, for WAIT (lib_state.lua).
  call('HSET', made, sub(id, 17) .. sub(place, 16), last)
  return 1
end
local charge = unpack_('>I4', row, 2) + tonumber(ARGV[4])
local head = '\0' .. pack('>I4', charge)
call('HSET', P .. 'rec', id .. place, head .. ARGV[3])
q.ready, q.owed = q.ready + 1, q.owed + charge
touch(q)
save_queues()
call('RPUSH', P .. 'que:' .. id, pack('>I4', q.epoch) .. '\1' .. head .. place)
owe(id, charge)
save_owners()
call('APPEND', P .. 'out:' .. segment, string.rep('\0', 28) .. pack('>i2', -1))
call('HSET', made, sub(id, 17) .. sub(place, 16), sub(place, 1, 2))
return 1
