-- KEYS: the lock, the last fencing token. ARGV: owner, ttl in milliseconds.
-- Returns the token of the owner's provisional grant, or 0 if it has expired.
if redis.call('GET', lock) == ARGV[1] then
  redis.call('PEXPIRE', lock, ARGV[2])
  return token()
end
return 0
