-- Shared part of acquire.lua, claim.lua and release.lua; its text precedes each of these scripts.
-- KEYS: the lock (value: owner), the last fencing token, the queue (waiters by ticket), the waiters
-- by the time until which they count as alive.
-- Tickets and times are microseconds of the server's clock.
-- A server may reject a command for lack of memory or permission, and keeps the earlier changes of
-- the script. So a token is written before the grant that it belongs to, and a release that cannot
-- grant the lock to a waiter still releases it.
local lock, fence, queue, alive = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local function whole(number)
  return string.format('%.0f', number)
end

local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- If the last token has expired after a day, or was lost in a restart, the clock is ahead of every
-- earlier token: it counts microseconds, and each grant takes at least one microsecond.
local function next_token()
  local token = redis.call('INCR', fence)
  if token == 1 then
    token = clock()
    redis.call('SET', fence, whole(token), 'PX', 86400000)
  end
  return token
end

-- Return the token of the present owner, or a new token if its key has expired since the grant.
local function token()
  return tonumber(redis.call('GET', fence)) or next_token()
end

local function grant(owner, milliseconds)
  local granted = next_token()
  redis.call('SET', lock, owner, 'PX', milliseconds)
  return granted
end

local function leave(owner)
  redis.call('ZREM', queue, owner)
  redis.call('ZREM', alive, owner)
end

-- Return the first waiter that is alive, and remove dead waiters before it.
local function first()
  if redis.call('EXISTS', queue) == 0 then
    return nil
  end
  local now = clock()
  while true do
    local head = redis.call('ZRANGE', queue, 0, 0)[1]
    if not head then
      return nil
    end
    if (tonumber(redis.call('ZSCORE', alive, head)) or 0) > now then
      return head
    end
    leave(head)
  end
end

-- Grant the lock provisionally, for the time in the owner's name, since a dead waiter will not
-- confirm the grant. No message is published to the channel `replied`: its client reads the waiter
-- from the reply of the script. A waiter without a message finds the grant by its heartbeat.
local function serve(head, replied)
  local channel, milliseconds = string.match(head, '^(.*)/%x+/(%d+)$')
  grant(head, milliseconds)
  leave(head)
  if channel ~= replied then
    redis.pcall('PUBLISH', channel, head)
  end
  return head
end
