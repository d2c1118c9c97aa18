-- Release the lock, or remove the owner from the queue.
-- KEYS: as in queue.lua, and a tombstone if later requests of the owner must fail. ARGV: owner.
-- Returns 1 if the owner held the lock, else 0; {1, waiter} if a waiter got the lock.
local owner = ARGV[1]

if KEYS[5] then
  redis.call('SET', KEYS[5], '', 'PX', 10000)
end
local holder = redis.call('GET', lock)
local was_ours = holder == owner and 1 or 0
if was_ours == 1 then
  redis.call('DEL', lock)
else
  leave(owner)
end
if was_ours == 1 then
  local head = first()
  if head then
    return {was_ours, serve(head, string.match(owner, '^(.*)/%x+/%d+$'))}
  end
end
return was_ours
