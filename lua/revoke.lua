-- Ends the sessions of a user that were issued up to a time, but some. KEYS: the user's revocations, a field for each.
local issued, now, except, age, maximum = tonumber(take()), take(), take(), take(), tonumber(take())

local times = {}
for _, time in ipairs(redis.call('HKEYS', KEYS[1])) do table.insert(times, tonumber(time)) end
table.sort(times)
-- Sessions issued since the last one have a later time, whatever the clock says.
if #times > 0 and issued <= times[#times] then issued = times[#times] + 1 end
local superfluous = except == '' and #times or math.max(#times - maximum + 1, 0)
for i = 1, superfluous do redis.call('HDEL', KEYS[1], string.format('%.0f', times[i])) end

redis.call('HSET', KEYS[1], string.format('%.0f', issued), now .. ' ' .. except)
redis.call('PEXPIRE', KEYS[1], age)
return 'ok'
