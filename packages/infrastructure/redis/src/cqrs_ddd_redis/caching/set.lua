-- Store a value if the client knows the present generation, and return the generation.
-- A command from before an outage may arrive after a deletion: with an old generation the script
-- deletes the value.
-- KEYS: value, lease, generation. ARGV: content, ttl in milliseconds (0: no expiry), the generation
-- that the client knows, a generation to set if there is none.
local generation = redis.call('GET', KEYS[3])
if not generation then
  generation = ARGV[4]
  redis.call('SET', KEYS[3], generation)
end
redis.call('DEL', KEYS[2])
if generation ~= ARGV[3] then
  redis.call('UNLINK', KEYS[1])
elseif ARGV[2] == '0' then
  redis.call('SET', KEYS[1], ARGV[1])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return generation
