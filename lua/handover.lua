-- Ends a session that another one takes over from in a different slot, and returns its fields. They stay in the
-- tombstone, which opens nothing, for as long as the caller may have to ask again. KEYS: the old session.
local op, successor, fresh = take(), take(), take() == '1'
local expected, expectedEnd = list()

local f = fields(KEYS[1], 'i', 'x', 'y')
if f[2] and not made(f[3], op) then return 'ended' end
if not f[1] then return 'gone' end
if not f[2] and conflicts(KEYS[1], expected, expectedEnd) then return { 'conflict', redis.call('HGETALL', KEYS[1]) } end
redis.call('HSET', KEYS[1], 'x', fresh and '-' or successor, 'y', ' ' .. op .. '@')
redis.call('PEXPIRE', KEYS[1], AGE)
return { 'ok', redis.call('HGETALL', KEYS[1]) }
