-- Notes that a session ended. It ends once, and the first time is the one that counts; but it may have cookies with two
-- deadlines, and is remembered until the later one. KEYS: the entry.
local now, left = take(), tonumber(take())
if redis.call('SET', KEYS[1], now, 'NX', 'PX', left) then return 'ok' end
if redis.call('PTTL', KEYS[1]) < left then redis.call('PEXPIRE', KEYS[1], left) end
return 'ok'
