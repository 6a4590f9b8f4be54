-- Shared by the scripts below: reading the arguments, and what all writes do.
--
-- A session is a hash: "i" its id, "u" the user, "n" the note, "m" its times and limits, "t" the last use, "o" the
-- latest operations, a field ":key" for each value and "!id" for each flash. A tombstone has "x", the id that the
-- session went on under or "-". Times are microseconds since 1970, by the clock of the caller.

local arg = 0
local function take() arg = arg + 1; return ARGV[arg] end
local function list()
  local items = {}
  for i = 1, tonumber(take()) do items[i] = take() end
  return items
end

-- made tells whether an operation is among those noted in o.
local function made(o, op)
  return op ~= '' and o and string.find(o, ' ' .. op .. '@', 1, true) ~= nil
end

-- noted returns o with op added, without those from before since, and about as many as a session keeps: one takes 20
-- bytes, as all of it goes over the wire with each read. Times are in seconds here. The oldest is in front.
local function noted(o, op, now, since, most)
  o = o or ''
  local _, stop, at = string.find(o, '^ [^@]*@(%d+)')
  while stop and (#o >= most * 20 or tonumber(at) * 1000000 <= since) do
    o = string.sub(o, stop + 1)
    _, stop, at = string.find(o, '^ [^@]*@(%d+)')
  end
  return o .. ' ' .. op .. '@' .. string.format('%d', now / 1000000)
end

-- bury leaves a tombstone.
local function bury(key, successor, age)
  redis.call('DEL', key)
  redis.call('HSET', key, 'x', successor)
  redis.call('PEXPIRE', key, age)
end

-- conflicts tells whether a value is not the one expected. Expectations are field, '1' or '0' for whether there is one,
-- value.
local function conflicts(key, expected)
  for i = 1, #expected, 3 do
    local have = redis.call('HGET', key, expected[i])
    if (have or '') ~= expected[i + 2] or (have and '1' or '0') ~= expected[i + 1] then return true end
  end
  return false
end

-- apply makes a change to the fields. Only values and flashes are cleared.
local function apply(key, cleared, keep, deleted, pairs_)
  if cleared then
    local kept = {}
    for _, field in ipairs(keep) do kept[field] = true end
    for _, field in ipairs(redis.call('HKEYS', key)) do
      local kind = string.sub(field, 1, 1)
      if (kind == ':' or kind == '!') and not kept[field] then redis.call('HDEL', key, field) end
    end
  end
  for _, field in ipairs(deleted) do redis.call('HDEL', key, field) end
  for i = 1, #pairs_, 1000 do redis.call('HSET', key, unpack(pairs_, i, math.min(i + 999, #pairs_))) end
end

-- left returns the microseconds that a session with these fields m and t has left, whichever limit comes first, or nil
-- if they can't be read.
local function left(m, t, now)
  local deadline, idle = string.match(m or '', '^(%d+) (%d+) ')
  local used = tonumber(t or '')
  if not deadline or not used then return nil end
  if tonumber(idle) == 0 then return tonumber(deadline) - now end
  return math.min(tonumber(deadline), used + tonumber(idle)) - now
end

-- expire sets the time to live from the session's own limits, and tells whether there is any. It never leaves a session
-- without one.
local function expire(key, now)
  local f = redis.call('HMGET', key, 'm', 't')
  local time = left(f[1], f[2], now)
  if not time or time <= 0 then
    redis.call('DEL', key)
    return false
  end
  redis.call('PEXPIRE', key, math.ceil(time / 1000))
  return true
end

-- fields returns what HMGET does, and of a key that holds something else that there is nothing.
local function fields(key, ...)
  local f = redis.pcall('HMGET', key, ...)
  return f.err and {} or f
end

-- enlist puts a session into its user's index, and drops what has ended there. It comes before all other writes, which
-- would not be undone: the index may be something else, which is an error and not one of the session's own key, and
-- Redis refuses a script for want of memory at the first write only, if that may take some.
local function enlist(index, id, deadline, now)
  local added = redis.pcall('ZADD', index, deadline, id)
  if type(added) == 'table' then
    if string.find(added.err, 'WRONGTYPE', 1, true) then error("the user's index holds something else") end
    redis.call('ZADD', index, deadline, id) -- fails again, and as what it is: clients know READONLY and the like
  end
  redis.call('ZREMRANGEBYSCORE', index, '-inf', now)
  local time = math.ceil((deadline - now) / 1000)
  if redis.call('PTTL', index) < time then redis.call('PEXPIRE', index, time) end
end
