-- KEYS: the lock. ARGV: owner, ttl in milliseconds. Returns 1 if the owner holds the lock, else 0.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return 1
end
return 0
