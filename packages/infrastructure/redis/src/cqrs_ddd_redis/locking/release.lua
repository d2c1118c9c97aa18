-- Release the lock, or remove the owner from the queue.
-- KEYS: as in queue.lua, and a tombstone if later requests of the owner must fail. ARGV: owner.
-- Returns 1 if the owner held the lock, else 0; {1, waiter} if a waiter got the lock.
local owner = ARGV[1]

if KEYS[5] then
  redis.pcall('SET', KEYS[5], '', 'PX', 10000)
end
if redis.call('GET', lock) ~= owner then
  leave(owner)
  return 0
end
local head = first()
if head then
  local is_served = pcall(serve, head, string.match(owner, '^(.*)/%x+/%d+$'))
  if is_served then
    return {1, head}
  end
end
redis.call('DEL', lock)
return 1
