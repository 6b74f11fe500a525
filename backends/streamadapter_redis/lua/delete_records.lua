-- Raise the log start. A batch that reaches beyond it stays whole; readers drop its first records.
-- KEYS 1 log  2 meta    ARGV 1 topic id  2 first offset to keep, -1: the log end
-- Returns {status, log start}: 0 done, 1 unknown topic, 2 beyond the log end.
local m = redis.call('HMGET', KEYS[2], 'topic', 'start', 'end')
if m[1] ~= ARGV[1] then return {1, -1} end
local start, stop, before = tonumber(m[2]), tonumber(m[3]), tonumber(ARGV[2])
if before == -1 then before = stop end
if before > stop or before < 0 then return {2, start} end
if before <= start then return {0, start} end
local text = string.format('%.0f', before)
redis.call('XTRIM', KEYS[1], 'MINID', '=', text .. '-0')
redis.call('HSET', KEYS[2], 'start', text)
redis.call('HDEL', KEYS[2], 'first_time', 'first_total')
return {0, before}
