-- What acquire.lua and release.lua share; it stands before each of them.
-- KEYS: the lock with its owner, the last fencing token, the queue by ticket, until when waiters are alive.
-- Tickets, tokens and those times are microseconds of the server's clock.
local lock, fence, queue, alive = unpack(KEYS)
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function whole(number)
  return string.format('%.0f', number)
end

-- The clock makes tokens grow also where the last one is gone: after a restart, or after a day.
local function grant(owner, milliseconds)
  local token = math.max(now, (tonumber(redis.call('GET', fence)) or 0) + 1)
  redis.call('SET', fence, whole(token), 'PX', whole(86400000 + milliseconds))
  redis.call('SET', lock, owner, 'PX', whole(milliseconds))
  return token
end

local function leave(owner)
  redis.call('ZREM', queue, owner)
  redis.call('ZREM', alive, owner)
end

-- The first who is alive; the dead before it are passed over.
local function first()
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

-- Granted for a short while: whoever was killed a moment ago will not claim it.
local function serve(head, window)
  leave(head)
  grant(head, window)
  redis.call('PUBLISH', string.match(head, '^(.*)/'), head)
end
