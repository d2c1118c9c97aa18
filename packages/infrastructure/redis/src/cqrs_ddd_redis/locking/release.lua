-- ARGV: owner, window in milliseconds. Answers 1 if the owner held the lock; it leaves the queue as well.
local owner, window = ARGV[1], tonumber(ARGV[2])

local holder = redis.call('GET', lock)
if holder == owner then
  redis.call('DEL', lock)
end
leave(owner)
if not holder or holder == owner then
  local head = first()
  if head then
    serve(head, window)
  end
end
return holder == owner and 1 or 0
