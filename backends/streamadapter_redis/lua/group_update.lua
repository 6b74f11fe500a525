-- Replace a group's state if nobody else has, keep the sessions in step, and wake the members.
-- KEYS 1 state  2 deadlines  3 signal (stream)
-- ARGV 1 version expected  2 new state  3 group (encoded)  4 number of members to evict, then those,
--      then pairs of member id and session timeout in ms: all members of the new state
-- Returns {applied, version, now in ms, state if not applied}.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local version = tonumber(redis.call('HGET', KEYS[1], 'version') or 0)
local function refuse() return {0, version, now, redis.call('HGET', KEYS[1], 'state') or ''} end
if version ~= tonumber(ARGV[1]) then return refuse() end

local evictions = tonumber(ARGV[4])
for i = 5, 4 + evictions do
  -- It has heartbeated since the caller looked: it lives.
  local deadline = redis.call('ZSCORE', KEYS[2], ARGV[i])
  if deadline and tonumber(deadline) >= now then return refuse() end
end

local stays = {}
for i = 5 + evictions, #ARGV, 2 do
  stays[ARGV[i]] = true
  redis.call('ZADD', KEYS[2], 'NX', string.format('%.0f', now + tonumber(ARGV[i + 1])), ARGV[i])
end
for _, member in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  if not stays[member] then
    redis.call('ZREM', KEYS[2], member)
    redis.pcall('XGROUP', 'DESTROY', KEYS[3], ARGV[3] .. '/' .. member)
  end
end
-- A new group's versions begin at the time in microseconds (fewer changes than that are possible), so that those of a
-- deleted group of that name never come again.
local new = string.format('%.0f', version == 0 and tonumber(clock[1]) * 1000000 + tonumber(clock[2]) or version + 1)
redis.call('HSET', KEYS[1], 'version', new, 'state', ARGV[2])
redis.call('XADD', KEYS[3], 'MAXLEN', '=', 1, '*', 'v', new)
return {1, tonumber(new), now, ''}
