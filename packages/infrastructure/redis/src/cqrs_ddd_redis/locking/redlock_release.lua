-- KEYS: the lock, the channels of the waiters. ARGV: owner.
-- Returns 1 if the owner held the lock, else 0.
local lock, waiting = KEYS[1], KEYS[2]

if redis.call('GET', lock) ~= ARGV[1] then
  return 0
end
redis.call('DEL', lock)
if redis.call('EXISTS', waiting) == 1 then
  local channels = redis.call('SMEMBERS', waiting)
  redis.call('DEL', waiting)
  for _, channel in ipairs(channels) do
    redis.call('PUBLISH', channel, lock)
  end
end
return 1
