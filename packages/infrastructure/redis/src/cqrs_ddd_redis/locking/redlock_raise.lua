-- KEYS: the lock, the last fencing token. ARGV: owner, the token, milliseconds for which to keep it.
-- Returns 1 if the owner holds the lock and no later holder's token will be as small.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if (tonumber(redis.call('GET', KEYS[2])) or 0) < tonumber(ARGV[2]) then
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
end
return 1
