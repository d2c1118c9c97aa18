-- KEYS: as in queue.lua, and a tombstone, which exists if the owner has left before this request.
-- ARGV: owner, ttl and window in milliseconds, 1 to wait or 0, ticket of an earlier request or 0.
-- Returns the token, 0 if the request is rejected, or {milliseconds, ticket} for a waiter: the
-- first waiter gets the milliseconds until the lock expires, any other waiter -1.
-- A repeated request is the heartbeat of the waiter, and confirms an earlier grant.
local owner, ttl, window = ARGV[1], ARGV[2], ARGV[3]

if redis.call('EXISTS', KEYS[5]) == 1 then
  return 0
end
local holder = redis.call('GET', lock)
local head = first()
if not holder then
  if not head then
    return grant(owner, ttl)
  end
  if head == owner then
    local granted = grant(owner, ttl)
    leave(owner)
    return granted
  end
  serve(head)
elseif holder == owner then
  redis.call('PEXPIRE', lock, ttl)
  return token()
end
if ARGV[4] == '0' then
  return 0
end

local now = clock()
local ticket = tonumber(ARGV[5])
if not redis.call('ZSCORE', queue, owner) then
  -- On a server that has lost its data, the old ticket restores the old place.
  if ticket == 0 then
    local last = redis.call('ZRANGE', queue, -1, -1, 'WITHSCORES')[2]
    ticket = math.max(now, (tonumber(last) or 0) + 1)
  end
  redis.call('ZADD', queue, whole(ticket), owner)
end
redis.call('ZADD', alive, whole(now + window * 1000), owner)
-- Longer than the window of any waiter, since another waiter may have a slower heartbeat.
local kept = math.max(window * 2, 60000)
redis.call('PEXPIRE', queue, kept)
redis.call('PEXPIRE', alive, kept)
if redis.call('ZRANK', queue, owner) == 0 then
  return {math.max(redis.call('PTTL', lock), 1), ticket}
end
return {-1, ticket}
