#!lua flags=no-writes
-- Tells which commands the caller may not use.
-- KEYS     none
-- ARGV[1]  any key of ours
-- ARGV[2…] for each command its name and the key or channel to try it on, or empty: it takes none
-- Returns  the names of those that are refused
local refused = redis.acl_check_cmd('evalsha', '', 1, ARGV[1]) and {} or { 'evalsha' }
for i = 2, #ARGV, 2 do
  local name, on = ARGV[i], ARGV[i + 1]
  local allowed
  if on == '' then allowed = redis.acl_check_cmd(name) else allowed = redis.acl_check_cmd(name, on, on, on) end
  if not allowed then refused[#refused + 1] = name end
end
return refused
