-- Append one record batch, once. Atomic. docs/design.md, "Append", numbers the steps.
-- KEYS 1 log (stream)  2 meta (hash)  3 producer (string)
-- ARGV 1 topic id  2 producer epoch  3 first sequence  4 record count
--      5 largest record timestamp in ms, -1: it is the append time
--      6 run id of this server  7 max.message.bytes  8 retention.ms or -1  9 retention.bytes or -1
--      10 producer state's time to live, ms  11 payload
-- Returns {status, base offset, append time, leader epoch}; status as in scripts.AppendStatus.
-- Numbers become text by '%.0f', or as arguments of redis.call, which does as much: Lua's own `..` rounds to 14 digits.
local log, meta, producer = KEYS[1], KEYS[2], KEYS[3]
local epoch, sequence, count = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local m = redis.call('HMGET', meta, 'topic', 'end', 'run', 'epoch', 'time', 'timestamp', 'total', 'epochs',
  'log', 'created', 'first_time', 'first_total')
if m[1] ~= ARGV[1] then return {2, -1, -1, -1} end

local known = redis.call('GET', producer)
local log_id, last_epoch, next_sequence, recent = string.match(known or '', '^(%S+) (%d+) (%d+)(.*)$')
-- What it wrote to an earlier log of that name says nothing of this one.
if log_id == m[9] then
  last_epoch, next_sequence = tonumber(last_epoch), tonumber(next_sequence)
  if epoch < last_epoch then return {4, -1, -1, -1} end
  if epoch > last_epoch then
    if sequence ~= 0 then return {3, -1, -1, -1} end
    recent = ''
  elseif sequence ~= next_sequence then
    for s, c, base, time, leader in string.gmatch(recent, ' (%d+):(%d+):(%d+):(%d+):(%d+)') do
      if tonumber(s) == sequence and tonumber(c) == count then
        return {1, tonumber(base), tonumber(time), tonumber(leader)}
      end
    end
    return {3, -1, -1, -1}
  end
else
  recent = ''
end
if #ARGV[11] > tonumber(ARGV[7]) then return {5, -1, -1, -1} end

local clock = redis.call('TIME')
local now = math.max(tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000), tonumber(m[5]))
local base = tonumber(m[2])
local leader = tonumber(m[4])
local new_process = m[3] ~= ARGV[6]
if new_process then
  -- Another server process than the one that wrote last: a new leader epoch begins here. Its number is the topic's
  -- age in seconds, for it must be new: had the server lost an epoch's beginning with the log's tail, counting on from
  -- what is left would give that epoch's number to another history, and no reader would notice (KIP-320).
  leader = math.max(leader + 1, math.floor((now - tonumber(m[10])) / 1000))
end
local timestamp = math.max(tonumber(m[6]), ARGV[5] == '-1' and now or tonumber(ARGV[5]))
local total = tonumber(m[7]) + #ARGV[11]
local stop = base + count

local id = string.format('%.0f-%.0f', stop - 1, count)
local added = redis.pcall('XADD', log, id, 'b', ARGV[11], 't', now, 'm', timestamp, 'e', leader, 's', total)
if type(added) == 'table' and added.err then
  -- A foreign entry with a larger id stands in the way; memory and other errors are passed on as they are.
  local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
  if last and tonumber(string.match(last[1], '^%d+')) >= stop - 1 then return {6, base, now, leader} end
  return added
end
redis.call('HSET', meta, 'end', stop, 'time', now, 'timestamp', timestamp, 'total', total)
if new_process then
  redis.call('HSET', meta, 'run', ARGV[6], 'epoch', leader, 'epochs', string.format('%s %.0f:%.0f', m[8], leader, base))
end

-- The new batch, and four of those before it.
redis.call('SET', producer, string.format('%s %.0f %.0f %.0f:%.0f:%.0f:%.0f:%.0f%s', m[9], epoch, sequence + count,
  sequence, count, base, now, leader, string.match(recent, '^ [^ ]+ [^ ]+ [^ ]+ [^ ]+') or recent), 'PX', ARGV[10])

--@include retention
retain(log, meta, now, tonumber(ARGV[8]), tonumber(ARGV[9]), total, m[11], m[12])
return {0, base, now, leader}
