-- Grant leases; a lease contains the generation in which it was granted.
-- The driver repeats a command without a reply: a lease with the same token is granted again.
-- KEYS: leases, and last the generation. ARGV: ttl in milliseconds, a generation to set if there is
-- none, a token for each lease.
local generation = redis.call('GET', KEYS[#KEYS])
if not generation then
  generation = ARGV[2]
  redis.call('SET', KEYS[#KEYS], generation)
end
local granted = {}
for i = 1, #KEYS - 1 do
  local own = generation .. ':' .. ARGV[2 + i]
  local held = redis.call('GET', KEYS[i])
  if held and held ~= own and string.sub(held, 1, #generation) == generation then
    granted[i] = 0
  else
    redis.call('SET', KEYS[i], own, 'PX', ARGV[1])
    granted[i] = 1
  end
end
return granted
