-- Store values if their leases and the generation have not changed since the load.
-- KEYS: value and lease of each value, and last the generation. ARGV: token, content and ttl in
-- milliseconds (0: no expiry) of each value.
local generation = redis.call('GET', KEYS[#KEYS])
local taken = {}
for i = 1, (#KEYS - 1) / 2 do
  local value, lease = KEYS[2 * i - 1], KEYS[2 * i]
  local token, content, milliseconds = ARGV[3 * i - 2], ARGV[3 * i - 1], ARGV[3 * i]
  taken[i] = 0
  if generation and redis.call('GET', lease) == generation .. ':' .. token then
    redis.call('DEL', lease)
    if milliseconds == '0' then
      redis.call('SET', value, content)
    else
      redis.call('SET', value, content, 'PX', milliseconds)
    end
    taken[i] = 1
  end
end
return taken
