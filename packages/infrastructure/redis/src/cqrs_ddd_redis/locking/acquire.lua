-- ARGV: owner, ttl and window in milliseconds, whether to wait, the ticket of an earlier call or 0.
-- Answers {token or 0, milliseconds after which to ask again or -1, ticket or 0}.
-- Asking again claims what was granted meanwhile, and shows that the waiter is alive.
local owner, ttl, window = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local waits, ticket = ARGV[4] == '1', tonumber(ARGV[5])

local holder = redis.call('GET', lock)
if holder == owner then
  redis.call('PEXPIRE', lock, whole(ttl))
  return {tonumber(redis.call('GET', fence)), 0, 0}
end

local head = first()
if not holder then
  if not head or head == owner then
    leave(owner)
    return {grant(owner, ttl), 0, 0}
  end
  serve(head, window)
end
if not waits then
  return {0, -1, 0}
end

if not redis.call('ZSCORE', queue, owner) then
  -- With its old ticket it gets its old place, on a server that has forgotten it.
  if ticket == 0 then
    local last = redis.call('ZRANGE', queue, -1, -1, 'WITHSCORES')[2]
    ticket = math.max(now, (tonumber(last) or 0) + 1)
  end
  redis.call('ZADD', queue, whole(ticket), owner)
end
redis.call('ZADD', alive, whole(now + window * 1000), owner)
redis.call('PEXPIRE', queue, whole(window))
redis.call('PEXPIRE', alive, whole(window))
if redis.call('ZRANK', queue, owner) == 0 then
  return {0, math.max(redis.call('PTTL', lock), 1), ticket}
end
return {0, -1, ticket}
