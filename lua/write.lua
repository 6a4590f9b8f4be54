-- Changes a session that must exist. KEYS: the session, and its user's index if the deadline changed.
local now, op, used = tonumber(take()), take(), take()
local cleared, limits, deadline = take() == '1', take(), tonumber(take()) -- the limits are '' if they stay as they are
local keep, keepEnd = list()
local deleted, deletedEnd = list()
local expected, expectedEnd = list()
local sets, setsEnd = list()

local f = redis.call('HMGET', KEYS[1], 'i', 'x', 'o', 't', 'm')
if f[2] then return 'ended' end
if not f[1] or (left(f[5], f[4], now) or 0) <= 0 then return 'gone' end
if made(f[3], op) then return 'ok' end
if conflicts(KEYS[1], expected, expectedEnd) then return redis.call('HGETALL', KEYS[1]) end

-- The last use is kept to the precision of a touch, so that most writes leave it and the time to live alone. A touch has
-- no operation. New limits may count on it, which the old ones did not.
local idle, since = tonumber(string.match(f[5], '^%-?%d+ %-?%d+ (%d+) ')), tonumber(used) - tonumber(f[4])
local due = since > 0 and (op == '' or limits ~= '' or idle > 0 and since >= idle / TOUCHES)
if due then setsEnd = append(setsEnd, 't', used) end
if limits ~= '' then setsEnd = append(setsEnd, 'm', limits) end
if op ~= '' then setsEnd = append(setsEnd, 'o', noted(f[3], op, now)) end

if KEYS[2] then enlist(KEYS[2], f[1], deadline, now) end
if cleared then clear(KEYS[1], keep, keepEnd) end
if deleted <= deletedEnd then each('HDEL', KEYS[1], deleted, deletedEnd) end
each('HSET', KEYS[1], sets, setsEnd)
if due or limits ~= '' then
  expire(KEYS[1], left(limits ~= '' and limits or f[5], due and used or f[4], now)) -- or its new limits are over, and so is it
end
return 'ok'
