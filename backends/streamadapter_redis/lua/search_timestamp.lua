-- The batch with the first record whose timestamp is at least t. Bisects over offsets: field m, the largest
-- timestamp so far, rises with them. O(log n) entries read.
-- KEYS 1 log  2 meta    ARGV 1 topic id  2 t, ms
-- Returns an XRANGE entry, or {} if no record is as late, or false if the topic is another one.
local m = redis.call('HMGET', KEYS[2], 'topic', 'start', 'end', 'timestamp')
if m[1] ~= ARGV[1] then return false end
local low, high, t = tonumber(m[2]), tonumber(m[3]) - 1, tonumber(ARGV[2])
if tonumber(m[4]) < t then return {} end
local found = {}
while low <= high do
  local middle = math.floor((low + high) / 2)
  local entry = redis.call('XRANGE', KEYS[1], string.format('%.0f', middle), '+', 'COUNT', 1)[1]
  if not entry then break end
  local last, count = string.match(entry[1], '^(%d+)-(%d+)$')
  local newest
  for i = 1, #entry[2], 2 do
    if entry[2][i] == 'm' then newest = tonumber(entry[2][i + 1]) end
  end
  if newest and newest < t then
    low = tonumber(last) + 1
  else
    found = entry
    high = tonumber(last) - tonumber(count)
  end
end
return found
