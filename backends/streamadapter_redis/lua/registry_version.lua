-- Included by scripts that change the registry. Versions follow the clock, so that they rise even over a failover
-- that lost the newest ones: members compare them to tell old snapshots from new.
local function next_version(key)
  local clock = redis.call('TIME')
  local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
  local version = string.format('%.0f', math.max(tonumber(redis.call('GET', key) or 0) + 1, now))
  redis.call('SET', key, version)
  return version
end
