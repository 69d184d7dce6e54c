local function calls_of(window) return key('calls', window) end
local function line_of(window) return key('line', window) end
local function owners_of(window) return key('owners', window) end

local function counted(window, rate)
  return redis.call('ZCOUNT', calls_of(window), '(' .. text(now - rate[2] - GUARD), '+inf')
end

local function held_until(window)
  return tonumber(redis.call('HGET', key('holds'), window) or '0')
end

-- How many calls may count now. After a loss that is certain, none for the length of the rate. A store that is new, or
-- was lost before anyone alive saw it: none for the shortest length, then as many as an even use would have left.
local function ceiling(rate)
  local known = now - blind
  if known >= rate[2] then
    return rate[1]
  elseif certain or known < args.shortest then
    return 0
  end
  return math.floor(rate[1] * known / rate[2])
end

local function room_of(window)
  if held_until(window) > now then
    return 0
  end
  local room = math.huge
  for _, rate in ipairs(args.rates) do
    room = math.min(room, math.max(0, ceiling(rate) - counted(window, rate)))
  end
  return room
end

-- When a rate that is short of memory lets one through that has `before` counted or ahead of it.
local function remembered(rate, before)
  local whole = blind + rate[2]
  if certain or now >= whole then
    return whole
  end
  return math.min(whole, blind + math.max(args.shortest, rate[2] * (before + 1) / rate[1]))
end

-- When there can be room at the earliest for who has `ahead` others before it.
local function earliest(window, ahead)
  local at = math.max(now, held_until(window))
  for _, rate in ipairs(args.rates) do
    local before = counted(window, rate) + ahead
    at = math.max(at, remembered(rate, before))
    local index = before - rate[1]
    if index >= 0 then
      local since = '(' .. text(now - rate[2] - GUARD)
      local call = redis.call('ZRANGEBYSCORE', calls_of(window), since, '+inf', 'WITHSCORES', 'LIMIT', index, 1)
      local ended = now
      if call[2] then
        ended = math.min(now, tonumber(call[2]))
      end
      at = math.max(at, ended + rate[2] + GUARD)
    end
  end
  return at
end

local function slots_open()
  local slots, count = {}, 0
  local all = redis.call('HGETALL', key('slots'))
  for i = 1, #all, 2 do
    local slot = cjson.decode(all[i + 1])
    if tonumber(slot.ends) <= now then
      redis.call('HDEL', key('slots'), all[i])
    else
      slots[all[i]] = slot
      count = count + 1
    end
  end
  return slots, count
end

local function put_slot(machine, slot)
  redis.call('HSET', key('slots'), machine, cjson.encode(slot))
end

local function out_of_line(window, ticket)
  redis.call('ZREM', line_of(window), ticket)
  if args.cap then
    redis.call('HDEL', key('errands'), ticket)
  end
end

local function leave(window, ticket)
  out_of_line(window, ticket)
  local ends = redis.call('ZSCORE', calls_of(window), ticket)
  if ends and tonumber(ends) > now then
    redis.call('ZREM', calls_of(window), ticket)
  end
  if args.cap then
    for machine, slot in pairs((slots_open())) do
      if slot.ticket == ticket and not slot.action then
        redis.call('HDEL', key('slots'), machine)
      end
    end
  end
end

-- Clears the line of dead processes. Tells whether this one was known, and which others are overdue and hold nobody up.
local function renew(window)
  local overdue = {}
  for _, owner in ipairs(redis.call('ZRANGEBYSCORE', owners_of(window), '-inf', text(now))) do
    overdue[owner] = owner ~= args.owner
  end
  for _, owner in ipairs(redis.call('ZRANGEBYSCORE', owners_of(window), '-inf', text(now - OWNER_LEASE))) do
    if owner ~= args.owner then
      for _, ticket in ipairs(redis.call('ZRANGE', line_of(window), 0, -1)) do
        if string.sub(ticket, 1, 16) == owner then
          out_of_line(window, ticket)
        end
      end
      redis.call('ZREM', owners_of(window), owner)
    end
  end
  return redis.call('ZSCORE', owners_of(window), args.owner), overdue
end

-- Until when the process is to ask again; one without waiters is forgotten.
local function expect(window, wait)
  if wait < 0 then
    redis.call('ZREM', owners_of(window), args.owner)
  else
    redis.call('ZADD', owners_of(window), text(now + wait + GRACE), args.owner)
  end
end

local function begin(window, ticket, errand)
  redis.call('ZADD', calls_of(window), text(now + args.call_lease), ticket)
  if errand then
    local ends = text(now + args.call_lease + UNPOSTED)
    put_slot(errand.machine_id, {correlation = errand.correlation_id, ticket = ticket, ends = ends, lease = errand.lease})
  end
end

local function new_walk(window)
  local walk = {room = room_of(window), free = 0, claimed = {}, able = 0, granted = {}, occupied = {}, blocked = false}
  if args.cap then
    local count
    walk.slots, count = slots_open()
    walk.free = math.max(0, args.cap - count)
  end
  if learn_first and args.cap then
    walk.room = 0
  end
  return walk
end

-- Tells whether the ticket goes or leaves, and whether to walk on. It is state/walk.rs in Lua.
local function step(walk, ticket, errand)
  local mine = string.sub(ticket, 1, 16) == args.owner
  if errand then
    local slot = walk.slots[errand.machine_id]
    local same = slot and not slot.action and slot.correlation == errand.correlation_id
    if slot and not same then
      if mine and not errand.wait then
        table.insert(walk.occupied, {ticket, slot.action or cjson.null})
        return 'leaves', true
      end
      walk.blocked = walk.blocked or mine
      return nil, true
    end
    if walk.claimed[errand.machine_id] or (not same and walk.free == 0) then
      walk.blocked = walk.blocked or mine
      return nil, true
    end
    if not same then
      walk.free = walk.free - 1
    end
    walk.claimed[errand.machine_id] = true
  end
  local goes
  if walk.able < walk.room then
    if mine then
      table.insert(walk.granted, ticket)
      goes = 'goes'
    end
  elseif mine and not walk.ahead then
    walk.ahead = walk.able - #walk.granted
  end
  walk.able = walk.able + 1
  return goes, errand or not walk.ahead
end

local function errand_of(ticket)
  local errand = args.cap and redis.call('HGET', key('errands'), ticket)
  return errand and cjson.decode(errand) or nil
end

-- The line as it stands, in pieces, since mostly its head is enough.
local function walk_line(window, walk, overdue)
  local from, on = 0, true
  while on do
    local piece = redis.call('ZRANGE', line_of(window), from, from + 63)
    for _, ticket in ipairs(piece) do
      local errand = errand_of(ticket)
      local goes
      if not overdue[string.sub(ticket, 1, 16)] then
        goes, on = step(walk, ticket, errand)
      end
      if goes then
        out_of_line(window, ticket)
        from = from - 1
      end
      if goes == 'goes' then
        begin(window, ticket, errand)
      end
      if not on then
        return false
      end
    end
    if #piece < 64 then
      return true
    end
    from = from + 64
  end
end

local function join(window, walk, on)
  for _, joining in ipairs(args.join) do
    local ticket, errand = joining[1], joining[2]
    if args.again and redis.call('ZSCORE', calls_of(window), ticket) then
      table.insert(walk.granted, ticket)
    elseif not (args.again and redis.call('ZSCORE', line_of(window), ticket)) then
      local goes
      if on then
        goes, on = step(walk, ticket, errand)
      end
      if goes == 'goes' then
        begin(window, ticket, errand)
      elseif not goes then
        redis.call('ZADD', line_of(window), redis.call('HINCRBY', key('epoch'), 'place', 1), ticket)
        if errand then
          redis.call('HSET', key('errands'), ticket, cjson.encode(errand))
        end
      end
    end
  end
end

function op.ask()
  local window = args.window
  local known, overdue = renew(window)
  for _, ticket in ipairs(args.leave) do
    leave(window, ticket)
  end
  redis.call('ZREMRANGEBYSCORE', calls_of(window), '-inf', text(now - args.longest - GUARD))
  local walk = new_walk(window)
  join(window, walk, walk_line(window, walk, overdue))
  local wait = -1
  if walk.ahead then
    wait = math.min(RENEWAL, earliest(window, walk.ahead) - now)
  end
  if walk.blocked and (wait < 0 or wait > LOOK) then
    wait = LOOK
  end
  expect(window, wait)
  return {granted = walk.granted, occupied = walk.occupied, stranger = not known,
    learn_first = learn_first and args.cap ~= nil, wait = text(wait)}
end

function op.finish()
  redis.call('ZADD', calls_of(args.window), text(now), args.ticket)
end

function op.hold()
  local till = math.max(now + args.seconds, held_until(args.window))
  redis.call('HSET', key('holds'), args.window, text(till))
end

function op.view()
  local share = 1
  for _, rate in ipairs(args.rates) do
    local left = math.max(0, ceiling(rate) - counted(args.window, rate))
    share = math.min(share, left / rate[1])
  end
  local waiting = redis.call('ZCARD', line_of(args.window))
  return {share = text(share), wait = text(earliest(args.window, waiting) - now)}
end
