-- Shared by the scripts below: reading the arguments, and what all writes do. Above it stand the constants WINDOW, for how
-- long an operation is recognised, in microseconds; MOST, among how many later ones; TOUCHES, how many make an idle
-- timeout; and AGE, for how long a tombstone is kept, in milliseconds.
--
-- A session is a hash: "i" its id, "u" the user, "n" the note, "m" its times and limits, "t" the last use, "o" the
-- latest operations, a field ":key" for each value and "!id" for each flash. A tombstone has "x", the id that the
-- session went on under or "-". Times are microseconds since 1970, by the clock of the caller; in "m" all but the first,
-- when the session was created, are counted from there. Short texts let Redis keep the hash in its compact form.

-- Arguments are numbers, texts, and lists with their length in front. A list stays where it is: what is returned are the
-- places of its first and its last item.
local arg = 0
local function take() arg = arg + 1; return ARGV[arg] end
local function list()
  local n = tonumber(take())
  arg = arg + n
  return arg - n + 1, arg
end

-- append adds a field and a value behind the last list.
local function append(last, field, value)
  ARGV[last + 1], ARGV[last + 2] = field, value
  return last + 2
end

-- each runs a command on a key with the items of a list. Redis takes so many at a time.
local function each(command, key, first, last)
  for i = first, last, 1000 do redis.call(command, key, unpack(ARGV, i, math.min(i + 999, last))) end
end

-- carry copies fields from one key to another.
local function carry(from, to, first, last)
  for i = first, last, 1000 do
    local pairs_ = {}
    for j, value in ipairs(redis.call('HMGET', from, unpack(ARGV, i, math.min(i + 999, last)))) do
      if value then
        table.insert(pairs_, ARGV[i + j - 1])
        table.insert(pairs_, value)
      end
    end
    if #pairs_ > 0 then redis.call('HSET', to, unpack(pairs_)) end
  end
end

-- made tells whether an operation is among those noted in o.
local function made(o, op)
  return op ~= '' and o and string.find(o, ' ' .. op .. '@', 1, true) ~= nil
end

-- noted returns o with op added, without those that need not be recognised any more. Each is a space, its eight
-- characters, an @ and the second in ten digits; the oldest is in front.
local function noted(o, op, now)
  o = o or ''
  while #o > 0 and (#o >= MOST * 20 or (tonumber(string.sub(o, 11, 20)) or 0) * 1000000 <= now - WINDOW) do
    o = string.sub(o, 21)
  end
  return o .. ' ' .. op .. '@' .. string.format('%010d', now / 1000000)
end

-- bury leaves a tombstone.
local function bury(key, successor)
  redis.call('DEL', key)
  redis.call('HSET', key, 'x', successor)
  redis.call('PEXPIRE', key, AGE)
end

-- conflicts tells whether a value is not the one expected. Expectations are field, '1' or '0' for whether there is one,
-- value.
local function conflicts(key, first, last)
  for i = first, last, 3 do
    local have = redis.call('HGET', key, ARGV[i])
    if (have or '') ~= ARGV[i + 2] or (have and '1' or '0') ~= ARGV[i + 1] then return true end
  end
  return false
end

-- clear drops the values and flashes that are not in a list.
local function clear(key, first, last)
  local kept = {}
  for i = first, last do kept[ARGV[i]] = true end
  for _, field in ipairs(redis.call('HKEYS', key)) do
    local kind = string.sub(field, 1, 1)
    if (kind == ':' or kind == '!') and not kept[field] then redis.call('HDEL', key, field) end
  end
end

-- left returns the microseconds that a session with these fields m and t has left, whichever limit comes first, or nil
-- if they can't be read.
local function left(m, t, now)
  local created, lifetime, idle = string.match(m or '', '^(%-?%d+) (%-?%d+) (%d+) ')
  local used = tonumber(t or '')
  if not created or not used then return nil end
  local deadline = tonumber(created) + tonumber(lifetime)
  if idle == '0' then return deadline - now end
  return math.min(deadline, used + tonumber(idle)) - now
end

-- expire sets a session's time to live, and ends it if there is none. It never leaves a session without one.
local function expire(key, time)
  if time and time > 0 then
    redis.call('PEXPIRE', key, math.ceil(time / 1000))
  else
    redis.call('DEL', key)
  end
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
