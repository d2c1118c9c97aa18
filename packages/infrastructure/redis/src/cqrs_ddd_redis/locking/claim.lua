-- KEYS: the lock, the last fencing token. ARGV: owner, ttl in milliseconds.
-- Answers the token of the owner who was called, or 0 if he came too late.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return tonumber(redis.call('GET', KEYS[2]))
end
return 0
