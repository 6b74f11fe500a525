-- Commit offsets, all or none, if the committer may: a live member, or anybody ('') while the group has none.
-- KEYS 1 deadlines  2 offsets (hash)    ARGV 1 member id or ''  then pairs of field and value
-- Returns 1, or 0 if fenced.
if ARGV[1] == '' then
  local clock = redis.call('TIME')
  local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
  if redis.call('ZCOUNT', KEYS[1], string.format('%.0f', now), '+inf') > 0 then return 0 end
elseif not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return 0
end
for i = 2, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
return 1
