-- Register a topic; of several creators one wins. The registry's version at that moment orders topic ids.
-- KEYS 1 registry  2 version    ARGV 1 name  2 topic as JSON    Returns the version, or 0 if the name is taken.
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then return 0 end
--@include registry_version
local version = next_version(KEYS[2])
redis.call('HSET', KEYS[1], ARGV[1], version .. ' ' .. ARGV[2])
return tonumber(version)
