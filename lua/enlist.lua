-- Puts a session into its user's index. KEYS: the index.
local now, id, deadline = tonumber(take()), take(), tonumber(take())
enlist(KEYS[1], id, deadline, now)
return 'ok'
