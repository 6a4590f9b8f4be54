-- Changes a session that must exist. KEYS: the session, and its user's index if the deadline changed.
local now, op, window, most = tonumber(take()), take(), tonumber(take()), tonumber(take())
local used, touches = tonumber(take()), tonumber(take())
local cleared, deadline = take() == '1', tonumber(take()) -- the deadline is 0 unless it may have changed
local keep, deleted, pairs_, expected = list(), list(), list(), list()

local f = redis.call('HMGET', KEYS[1], 'i', 'x', 'o', 't', 'm')
if f[2] then return 'ended' end
if not f[1] or (left(f[5], f[4], now) or 0) <= 0 then return 'gone' end
if made(f[3], op) then return 'ok' end
if conflicts(KEYS[1], expected) then return redis.call('HGETALL', KEYS[1]) end

-- The last use is kept to the precision of a touch, so that most writes leave it and the time to live alone. A touch has
-- no operation.
local idle, since = tonumber(string.match(f[5], '^%d+ (%d+) ')), used - tonumber(f[4])
local due = since > 0 and (op == '' or idle > 0 and since >= idle / touches)
if due then
  table.insert(pairs_, 't')
  table.insert(pairs_, string.format('%.0f', used))
end
if op ~= '' then
  table.insert(pairs_, 'o')
  table.insert(pairs_, noted(f[3], op, now, now - window, most))
end
if KEYS[2] then enlist(KEYS[2], f[1], deadline, now) end
apply(KEYS[1], cleared, keep, deleted, pairs_)
if (due or deadline > 0) and not expire(KEYS[1], now) then return 'ok' end -- its new limits are over, and so is it
return 'ok'
