-- Take a partition over: fence the former owner, and put a cursor of one's own at an offset.
-- KEYS 1 log  2 meta  3 owners
-- ARGV 1 topic id  2 group (encoded)  3 member id  4 owner epoch  5 stream id to stand at
-- Returns {0, log id, start, end, epochs, timestamp}, {1} unknown topic, or {2, owner epoch noted} fenced.
local m = redis.call('HMGET', KEYS[2], 'topic', 'log', 'start', 'end', 'epochs', 'timestamp')
if m[1] ~= ARGV[1] then return {1} end
local owner = redis.call('HGET', KEYS[3], ARGV[2])
if owner then
  local epoch, member = string.match(owner, '^(%d+) (.*)$')
  epoch = tonumber(epoch)
  if epoch > tonumber(ARGV[4]) or (epoch == tonumber(ARGV[4]) and member ~= ARGV[3]) then return {2, epoch} end
  redis.pcall('XGROUP', 'DESTROY', KEYS[1], ARGV[2] .. '/' .. member)
end
local mine = ARGV[2] .. '/' .. ARGV[3]
redis.pcall('XGROUP', 'DESTROY', KEYS[1], mine)
redis.call('XGROUP', 'CREATE', KEYS[1], mine, ARGV[5], 'MKSTREAM')
redis.call('HSET', KEYS[3], ARGV[2], ARGV[4] .. ' ' .. ARGV[3])
return {0, m[2], m[3], m[4], m[5], m[6]}
