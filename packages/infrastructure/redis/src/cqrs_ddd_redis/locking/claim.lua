-- Confirm the provisional grant of the owner.
-- KEYS: the lock, the last fencing token. ARGV: owner, ttl in milliseconds.
-- Returns the token, or 0 if the grant has expired.
if redis.call('GET', lock) == ARGV[1] then
  local granted = token()
  redis.call('PEXPIRE', lock, ARGV[2])
  return granted
end
return 0
