-- Apply retention to a log that gets no appends.
-- KEYS 1 log  2 meta    ARGV 1 topic id  2 retention.ms or -1  3 retention.bytes or -1    Returns the log start, -1.
local m = redis.call('HMGET', KEYS[2], 'topic', 'total', 'first_time', 'first_total')
if m[1] ~= ARGV[1] then return -1 end
local clock = redis.call('TIME')
--@include retention
retain(KEYS[1], KEYS[2], tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000), tonumber(ARGV[2]),
  tonumber(ARGV[3]), tonumber(m[2]), m[3], m[4])
return tonumber(redis.call('HGET', KEYS[2], 'start'))
