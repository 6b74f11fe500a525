-- Remove a partition's log if it still belongs to this topic id. Blocked reads of it end with NOGROUP.
-- KEYS 1 log  2 meta  3 owners    ARGV 1 topic id    Returns 1 if it was removed.
if redis.call('HGET', KEYS[2], 'topic') ~= ARGV[1] then return 0 end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3])
return 1
