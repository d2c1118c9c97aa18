-- KEYS: also, where he is not to come back, a mark of that. ARGV: owner.
-- He gives the lock back, and leaves the queue.
-- Answers 1 if he held it, else 0; where somebody was called {1 or 0, who}.
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
