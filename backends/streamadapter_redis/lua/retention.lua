-- Included by append.lua and retain.lua; no script of its own. Drops whole batches from the log's beginning: by append
-- time (older than retention.ms) and by size (while at least retention.bytes remain, as Kafka does with segments). At
-- most 16 a call, so that no call is long. The oldest batch's time and running total are kept in `meta`, whose fields
-- total, first_time and first_total the caller has read: an append that has nothing to drop asks for nothing more.
local function retain(log, meta, now, retention_ms, retention_bytes, total, first_time, first_total)
  local function note_oldest(entry)
    local f = {}
    for i = 1, #entry[2], 2 do f[entry[2][i]] = entry[2][i + 1] end
    if not f.t or not f.s then return nil end  -- a foreign entry: for `repair` to remove, not for retention
    redis.call('HSET', meta, 'first_time', f.t, 'first_total', f.s)
    return f
  end
  local oldest = { t = first_time, s = first_total }
  for _ = 1, 16 do
    local entries
    if not oldest.t then
      entries = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)
      if not entries[1] then return end
      oldest = note_oldest(entries[1])
      if not oldest then return end
    end
    local expired = retention_ms >= 0 and tonumber(oldest.t) < now - retention_ms
    local surplus = retention_bytes >= 0 and total - tonumber(oldest.s) >= retention_bytes
    if not expired and not surplus then return end
    entries = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)
    redis.call('XDEL', log, entries[1][1])
    redis.call('HSET', meta, 'start', string.format('%.0f', tonumber(string.match(entries[1][1], '^%d+')) + 1))
    redis.call('HDEL', meta, 'first_time', 'first_total')
    oldest = {}
  end
end
