-- Ends a session. Returns what was there: 'live', 'none', or a tombstone's successor. KEYS: the session. The user, if not
-- '', must be the session's. With force a tombstone is left even where there is nothing, so that a session that is about
-- to be created is not: 'early'. The index prefix is '' where the index lives in another slot.
local user, force, indexPrefix, id = take(), take() == '1', take(), take()
local f = redis.call('HMGET', KEYS[1], 'i', 'x', 'u')
if f[2] and f[1] and user ~= '' and f[3] ~= user then return 'none' end -- handed over, and not the user's
if f[2] then return f[2] end
if not f[1] and not force then return 'none' end
if f[1] and user ~= '' and f[3] ~= user then return 'none' end
bury(KEYS[1], '-')
if f[3] and indexPrefix ~= '' then redis.pcall('ZREM', indexPrefix .. f[3], id) end
return f[1] and 'live' or 'early'
