-- KEYS: the lock (value: owner), the last fencing token; for a waiter the channels of all waiters.
-- ARGV: owner, ttl in milliseconds, the token that the client proposes, lifetime of the token in
-- milliseconds; for a waiter the channel to notify when the lock is released.
-- Returns the token, or the negative number of milliseconds until the holder's ttl ends.
local lock, fence, waiting = KEYS[1], KEYS[2], KEYS[3]
local owner, ttl, kept, channel = ARGV[1], ARGV[2], ARGV[4], ARGV[5]

local holder = redis.call('GET', lock)
if not holder then
  -- The token before the lock: a server that rejects a command keeps the earlier changes.
  local time = redis.call('TIME')
  -- Never ahead of this server's clock: after a restart without data, the clock is the only source.
  local token = math.min(tonumber(ARGV[3]), time[1] * 1000000 + time[2])
  local last = redis.call('SET', fence, string.format('%.0f', token), 'PX', kept, 'GET')
  if last and tonumber(last) >= token then
    token = tonumber(last) + 1
    redis.call('SET', fence, string.format('%.0f', token), 'PX', kept)
  end
  redis.call('SET', lock, owner, 'PX', ttl)
  return token
end
if holder == owner then
  -- The driver repeats the command if the connection was lost before the reply.
  redis.call('PEXPIRE', lock, ttl)
  return tonumber(redis.call('GET', fence))
end
if channel then
  redis.call('SADD', waiting, channel)
  redis.call('PEXPIRE', waiting, 10000)
end
return -math.max(redis.call('PTTL', lock), 1)
