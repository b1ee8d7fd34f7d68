#!lua
-- Announces a lane whose first call is about to stage segments, so that `tick` finds
-- them should nothing follow.
-- KEYS     the partition's state, from which all others are derived; the guard
-- ARGV[1]  now in ms, or empty
-- ARGV[2]  stamp
-- Returns  1
local now, field = clock(ARGV[1]), 'p' .. sub(ARGV[2], 1, 8)
if not call('HGET', P .. 'lanes', field) then
  call('HSET', P .. 'lanes', field, pack('>I4I8', unpack_('>I4', ARGV[2], 9) - 1, now))
end
return 1
