-- Stores a session under an id that must not exist, in place of another if there is one. KEYS: the new session, then the
-- old session, the user's index and the old one's user's index, each of which may be the prefix for none.
local now, op, id, replaced, issued, used = tonumber(take()), take(), take(), take(), take(), take()
local limits, fresh, cleared = take(), take() == '1', take() == '1' -- the limits are '' for those of the old session
local deadline, maximum, prefix = tonumber(take()), tonumber(take()), take()
local keep, keepEnd = list()
local deleted, deletedEnd = list()
local expected, expectedEnd = list()
local sets, setsEnd = list()
local function key(i) return KEYS[i] ~= prefix and KEYS[i] or '' end
local new, old, index, oldIndex = KEYS[1], key(2), key(3), key(4)

local f = redis.call('HMGET', new, 'i', 'x', 'o')
if f[2] or made(f[3], op) then return 'ok' end -- created, and perhaps ended since
if f[1] then return 'taken' end

local there, o = false, {}
if old ~= '' then
  o = fields(old, 'i', 'x', 'm', 't', 'o')
  there = o[1] and not o[2] and (left(o[3], o[4], now) or 0) > 0
  if not there and not fresh then return o[2] and 'ended' or 'gone' end
  if there and conflicts(old, expected, expectedEnd) then return redis.call('HGETALL', old) end
end

if there and not fresh and limits == '' then -- as they are now: another request may have changed them
  limits = string.gsub(o[3], '[^ ]+$', issued)
  local created, lifetime = string.match(limits, '^(%-?%d+) (%-?%d+) ')
  deadline = tonumber(created) + tonumber(lifetime)
end
if index ~= '' then enlist(index, id, deadline, now) end
if there and fresh then
  carry(old, new, keep, keepEnd) -- before what is set, which goes over it
  bury(old, '-')
elseif there then
  redis.call('RENAME', old, new)
  bury(old, id)
  if cleared then clear(new, keep, keepEnd) end
end
if deleted <= deletedEnd then each('HDEL', new, deleted, deletedEnd) end
setsEnd = append(setsEnd, 'i', id)
setsEnd = append(setsEnd, 'm', limits)
setsEnd = append(setsEnd, 't', used)
if op ~= '' then setsEnd = append(setsEnd, 'o', noted(there and not fresh and o[5] or '', op, now)) end
each('HSET', new, sets, setsEnd)
expire(new, left(limits, used, now)) -- or its own limits are over, and so is it

if there and oldIndex ~= '' then redis.pcall('ZREM', oldIndex, replaced) end
if index == '' then return 'ok' end
if maximum == 0 or redis.call('ZCARD', index) <= maximum then return 'ok' end

-- Over the maximum: the oldest logins go, once those that have ended by themselves are out of the way.
local live = {}
for _, other in ipairs(redis.call('ZRANGE', index, 0, -1)) do
  local s = redis.call('HMGET', prefix .. other, 'i', 'x', 'm')
  if s[1] and not s[2] then
    local created, login = string.match(s[3] or '', '^(%-?%d+) %-?%d+ %d+ %d (%-?%d+) ')
    table.insert(live, { id = other, at = created and tonumber(created) + tonumber(login) or 0 })
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
  bury(prefix .. live[i].id, '-')
  redis.call('ZREM', index, live[i].id)
  table.insert(evicted, live[i].id)
end
return evicted
