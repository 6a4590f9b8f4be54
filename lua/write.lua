-- Changes a session that must exist. KEYS: the session, and its user's index if the deadline changed.
local now, op, window, most = tonumber(take()), take(), tonumber(take()), tonumber(take())
local used = tonumber(take())
local cleared, deadline = take() == '1', tonumber(take())
local keep, deleted, pairs_, expected = list(), list(), list(), list()

local f = redis.call('HMGET', KEYS[1], 'i', 'x', 'o', 't', 'm')
if f[2] then return 'ended' end
if not f[1] or (left(f[5], f[4], now) or 0) <= 0 then return 'gone' end
if made(f[3], op) then return 'ok' end
if conflicts(KEYS[1], expected) then return redis.call('HGETALL', KEYS[1]) end

if used > tonumber(f[4]) then
  table.insert(pairs_, 't')
  table.insert(pairs_, string.format('%.0f', used))
end
if op ~= '' then
  table.insert(pairs_, 'o')
  table.insert(pairs_, noted(f[3], op, now, now - window, most))
end
apply(KEYS[1], cleared, keep, deleted, pairs_)
if not expire(KEYS[1], now) then return 'gone' end
if KEYS[2] then enlist(KEYS[2], f[1], deadline, now) end
return 'ok'
