-- The sliding windows: a call counts from its start until one window length after its end.
--
-- Redis keys: `calls`: tickets by the end of their call; for a running call, the
-- end of its lease. `queue`: tickets by order of arrival. `queue_owners`: processes by their
-- deadline to ask again.
local function calls_of(window) return key('calls', window) end
local function queue_of(window) return key('queue', window) end
local function queue_owners_of(window) return key('queue_owners', window) end

local function counted(window, rate)
  return redis.call('ZCOUNT', calls_of(window), '(' .. text(now - rate[2] - WINDOW_MARGIN), '+inf')
end

local function blocked_until(window)
  return tonumber(redis.call('HGET', key('window_blocks'), window) or '0')
end

-- Calls before this time are not recorded. Submits are: the service lists them.
local function unknown_before()
  return args.slot_limit and not sessions_unknown and 0 or known_since
end

-- Returns how many calls may count now: none for one window length after a loss.
local function effective_limit(rate)
  return now - unknown_before() >= rate[2] and rate[1] or 0
end

local function room_of(window)
  if blocked_until(window) > now then
    return 0
  end
  local room = math.huge
  for _, rate in ipairs(args.rates) do
    room = math.min(room, math.max(0, effective_limit(rate) - counted(window, rate)))
  end
  return room
end

-- Returns the earliest time at which a caller with `ahead` others before it may start.
local function earliest(window, ahead)
  local at = math.max(now, blocked_until(window))
  for _, rate in ipairs(args.rates) do
    local before = counted(window, rate) + ahead
    at = math.max(at, unknown_before() + rate[2])
    local index = before - rate[1]
    if index >= 0 then
      local since = '(' .. text(now - rate[2] - WINDOW_MARGIN)
      local call = redis.call('ZRANGEBYSCORE', calls_of(window), since, '+inf', 'WITHSCORES',
        'LIMIT', index, 1)
      -- A call that still runs ends now at the earliest.
      local ended = now
      if call[2] then
        ended = math.min(now, tonumber(call[2]))
      end
      at = math.max(at, ended + rate[2] + WINDOW_MARGIN)
    end
  end
  return at
end

-- A call whose lease had run out before counts from now again, to be safe.
function op.end_call()
  redis.call('ZADD', calls_of(args.window), text(now), args.ticket)
end

function op.block_window()
  local until_time = math.max(now + args.seconds, blocked_until(args.window))
  redis.call('HSET', key('window_blocks'), args.window, text(until_time))
end

function op.window_usage()
  local share = 1
  for _, rate in ipairs(args.rates) do
    local left = math.max(0, effective_limit(rate) - counted(args.window, rate))
    share = math.min(share, left / rate[1])
  end
  local waiting = redis.call('ZCARD', queue_of(args.window))
  return {share = text(share), wait = text(earliest(args.window, waiting) - now)}
end
