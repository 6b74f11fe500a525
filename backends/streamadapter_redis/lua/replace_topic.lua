-- Change or remove a topic's registration if it is still what the caller saw.
-- KEYS 1 registry  2 version    ARGV 1 name  2 expected value  3 new value, '' to remove    Returns 1 if done.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
if ARGV[3] == '' then redis.call('HDEL', KEYS[1], ARGV[1]) else redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
--@include registry_version
next_version(KEYS[2])
return 1
