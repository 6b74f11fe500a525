-- Delete a group that has no live member.
-- KEYS 1 state  2 deadlines  3 offsets  4 signal    Returns 0 done, 1 it has live members, 2 there is none.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
if redis.call('ZCOUNT', KEYS[2], string.format('%.0f', now), '+inf') > 0 then return 1 end
if redis.call('EXISTS', KEYS[1], KEYS[3]) == 0 then return 2 end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
return 0
