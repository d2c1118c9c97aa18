-- KEYS: the lock, the channels of the waiters. ARGV: owner.
-- Returns 1 if the owner held the lock, else 0.
local lock, waiting = KEYS[1], KEYS[2]

if redis.call('GET', lock) ~= ARGV[1] then
  return 0
end
local channels = redis.call('SMEMBERS', waiting)
redis.call('DEL', lock, waiting)
for _, channel in ipairs(channels) do
  -- The lock is released even if the server does not permit the message; the waiter polls.
  redis.pcall('PUBLISH', channel, lock)
end
return 1
