-- KEYS: the lock, the last fencing token. ARGV: owner, ttl in milliseconds.
-- Answers the token of the owner who was called, or 0 if he came too late.
if redis.call('GET', lock) == ARGV[1] then
  redis.call('PEXPIRE', lock, ARGV[2])
  return token()
end
return 0
