-- KEYS: also a tombstone, which exists if the owner has left: then this request is late.
-- ARGV: owner, ttl and window in milliseconds, 1 to wait or 0, the ticket of an earlier request or 0.
-- Returns the token, or 0, or for a waiter {milliseconds until the lock ends for the first in the queue,
-- else -1, its ticket}.
-- Another request claims an earlier grant, and is the heartbeat of the waiter.
local owner, ttl, window = ARGV[1], ARGV[2], ARGV[3]

if redis.call('EXISTS', KEYS[5]) == 1 then
  return 0
end
local is_ours = redis.call('SET', lock, owner, 'NX', 'PX', ttl)
local head = first()
if is_ours then
  if not head then
    return next_token()
  end
  if head == owner then
    leave(owner)
    return next_token()
  end
  serve(head)
elseif redis.call('GET', lock) == owner then
  redis.call('PEXPIRE', lock, ttl)
  return token()
end
if ARGV[4] == '0' then
  return 0
end

local now = clock()
local ticket = tonumber(ARGV[5])
if not redis.call('ZSCORE', queue, owner) then
  -- With its old ticket it gets its old place on a server that has lost its data.
  if ticket == 0 then
    local last = redis.call('ZRANGE', queue, -1, -1, 'WITHSCORES')[2]
    ticket = math.max(now, (tonumber(last) or 0) + 1)
  end
  redis.call('ZADD', queue, whole(ticket), owner)
end
redis.call('ZADD', alive, whole(now + window * 1000), owner)
-- Longer than the window of any waiter, whose heartbeat may be slower.
local kept = math.max(window * 2, 60000)
redis.call('PEXPIRE', queue, kept)
redis.call('PEXPIRE', alive, kept)
if redis.call('ZRANK', queue, owner) == 0 then
  return {math.max(redis.call('PTTL', lock), 1), ticket}
end
return {-1, ticket}
