-- Make a partition's log ready, once a topic id. `created` orders topic ids: a slow creator of a deleted topic
-- cannot replace the log of its successor.
-- KEYS 1 log  2 meta  3 owners    ARGV 1 topic id  2 created  3 log id    Returns 1 if it was created now.
local m = redis.call('HMGET', KEYS[2], 'topic', 'created')
if m[1] == ARGV[1] or (m[2] and tonumber(m[2]) >= tonumber(ARGV[2])) then return 0 end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3])
redis.call('HSET', KEYS[2], 'topic', ARGV[1], 'created', ARGV[2], 'log', ARGV[3], 'start', 0, 'end', 0, 'run', '',
  'epoch', -1, 'epochs', '', 'time', 0, 'timestamp', -1, 'total', 0)
return 1
