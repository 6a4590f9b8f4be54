-- Stores a session under an id that must not exist, in place of another if there is one. KEYS: the new session, then,
-- each of which may be '', the old session, the user's index and the old one's user's index.
local now, op, window, most = tonumber(take()), take(), tonumber(take()), tonumber(take())
local fresh = take() == '1'
local cleared, deadline, id, replaced = take() == '1', tonumber(take()), take(), take()
local age, maximum, prefix, issued = take(), tonumber(take()), take(), take()
local keep, deleted, pairs_, expected = list(), list(), list(), list()
local new, old, index, oldIndex = KEYS[1], KEYS[2] or '', KEYS[3] or '', KEYS[4] or ''

local f = redis.call('HMGET', new, 'i', 'x', 'o')
if f[2] or made(f[3], op) then return 'ok' end -- created, and perhaps ended since
if f[1] then return 'taken' end

local there = false
if old ~= '' then
  local o = fields(old, 'i', 'x', 'm', 't')
  there = o[1] and not o[2] and (left(o[3], o[4], now) or 0) > 0
  if not there and not fresh then return o[2] and 'ended' or 'gone' end
  if there and conflicts(old, expected) then return redis.call('HGETALL', old) end
end

if index ~= '' then enlist(index, id, deadline, now) end
if there and fresh then
  for _, field in ipairs(keep) do
    local value = redis.call('HGET', old, field)
    if value then redis.call('HSET', new, field, value) end
  end
  bury(old, '-', age)
elseif there then
  redis.call('RENAME', old, new)
  bury(old, id, age)
  local limits = redis.call('HGET', new, 'm')
  redis.call('HSET', new, 'm', (string.gsub(limits, '%d+$', issued)))
end
apply(new, cleared and not fresh, keep, deleted, pairs_)
redis.call('HSET', new, 'o', noted(redis.call('HGET', new, 'o'), op, now, now - window, most))
expire(new, now) -- or its own limits are over, and so is it

if there and oldIndex ~= '' then redis.pcall('ZREM', oldIndex, replaced) end
if index == '' then return 'ok' end
if maximum == 0 or redis.call('ZCARD', index) <= maximum then return 'ok' end

-- Over the maximum: the oldest logins go, once those that have ended by themselves are out of the way.
local live = {}
for _, other in ipairs(redis.call('ZRANGE', index, 0, -1)) do
  local o = redis.call('HMGET', prefix .. other, 'i', 'x', 'm')
  if o[1] and not o[2] then
    local login = string.match(o[3] or '', '^%d+ %d+ %d %d+ (%d+) ')
    table.insert(live, { id = other, at = tonumber(login or '') or 0 })
  else
    redis.call('ZREM', index, other)
  end
end
table.sort(live, function(a, b)
  if (a.id == id) ~= (b.id == id) then return b.id == id end
  if a.at ~= b.at then return a.at < b.at end
  return a.id < b.id
end)
local evicted = { 'evicted' }
for i = 1, #live - maximum do
  bury(prefix .. live[i].id, '-', age)
  redis.call('ZREM', index, live[i].id)
  table.insert(evicted, live[i].id)
end
return evicted
