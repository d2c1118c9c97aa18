-- KEYS: the lock, the last fencing token. ARGV: owner, the token, its lifetime in milliseconds.
-- Returns 1 if the owner holds the lock, so that tokens of later holders are larger; else 0.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if (tonumber(redis.call('GET', KEYS[2])) or 0) < tonumber(ARGV[2]) then
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
end
return 1
