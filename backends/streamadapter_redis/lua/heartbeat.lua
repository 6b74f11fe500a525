-- Extend a member's session and look at the group. O(1) while nothing changes.
-- KEYS 1 state (hash)  2 deadlines (sorted set)    ARGV 1 member id or ''  2 version known  3 session timeout, ms
-- Returns {version, now in ms, changed, state, {expired members}}; state is '' unless changed is 1.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
if ARGV[1] ~= '' then
  redis.call('ZADD', KEYS[2], 'XX', string.format('%.0f', now + tonumber(ARGV[3])), ARGV[1])
end
local expired = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('(%.0f', now), 'LIMIT', 0, 64)
local version = tonumber(redis.call('HGET', KEYS[1], 'version') or 0)
if version == tonumber(ARGV[2]) then return {version, now, 0, '', expired} end
return {version, now, 1, redis.call('HGET', KEYS[1], 'state') or '', expired}
