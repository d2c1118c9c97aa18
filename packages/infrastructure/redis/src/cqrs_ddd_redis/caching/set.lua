-- A value, where the generation is the one that its sender knows; the generation is the answer.
-- One that was sent before an outage may arrive after what was deleted since: it deletes too.
-- KEYS: value, lease, generation. ARGV: content, milliseconds or 0 for no limit, the generation that
-- is known, a generation to begin.
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
