-- The admission queues.

-- Returns the slots by machine, and their count. Deletes those whose time is over.
local function read_open_slots()
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

local function dequeue(window, ticket)
  redis.call('ZREM', queue_of(window), ticket)
  if args.slot_limit then
    redis.call('HDEL', key('slot_requests'), ticket)
  end
end

-- Removes the ticket from the queue. If it was granted, its call counts as never started.
local function leave(window, ticket)
  dequeue(window, ticket)
  local ends = redis.call('ZSCORE', calls_of(window), ticket)
  if ends and tonumber(ends) > now then
    redis.call('ZREM', calls_of(window), ticket)
  end
  if args.slot_limit then
    for machine, slot in pairs((read_open_slots())) do
      if slot.ticket == ticket and not slot.action then
        redis.call('HDEL', key('slots'), machine)
      end
    end
  end
end

-- Removes dead processes from the queue. Returns whether this process was known, and the processes
-- past their deadline, which block nobody.
local function renew(window)
  local overdue = {}
  local owners = queue_owners_of(window)
  for _, owner in ipairs(redis.call('ZRANGEBYSCORE', owners, '-inf', text(now))) do
    overdue[owner] = owner ~= args.owner
  end
  for _, owner in ipairs(redis.call('ZRANGEBYSCORE', owners, '-inf', text(now - OWNER_LEASE))) do
    if owner ~= args.owner then
      for _, ticket in ipairs(redis.call('ZRANGE', queue_of(window), 0, -1)) do
        if string.sub(ticket, 1, 16) == owner then
          dequeue(window, ticket)
        end
      end
      redis.call('ZREM', owners, owner)
    end
  end
  return redis.call('ZSCORE', owners, args.owner), overdue
end

-- Records when the process must ask again. Forgets a process without waiters.
local function set_deadline(window, wait)
  if wait < 0 then
    redis.call('ZREM', queue_owners_of(window), args.owner)
  else
    redis.call('ZADD', queue_owners_of(window), text(now + wait + OWNER_GRACE), args.owner)
  end
end

-- Counts the call as running, and takes the slot and the machine of a submit.
local function begin(window, ticket, slot_request)
  redis.call('ZADD', calls_of(window), text(now + args.call_lease), ticket)
  if slot_request then
    local ends = text(now + args.call_lease + UNPOSTED_GRACE)
    put_slot(slot_request.machine_id, {correlation = slot_request.correlation_id, ticket = ticket,
      ends = ends, lease = slot_request.lease})
  end
end

local function new_scan(window)
  local scan = {room = room_of(window), free = 0, claimed = {}, eligible = 0, granted = {},
    occupied = {}, blocked = false}
  if args.slot_limit then
    local count
    scan.slots, count = read_open_slots()
    scan.free = math.max(0, args.slot_limit - count)
  end
  -- An unknown session may be on any machine, so nothing is submitted.
  if sessions_unknown and args.slot_limit then
    scan.room = 0
  end
  return scan
end

-- Visits the next ticket: state/queue_scan.rs in Lua. Returns 'granted', 'refused' or nil, and
-- whether the rest of the queue still matters.
local function step(scan, ticket, slot_request)
  local mine = string.sub(ticket, 1, 16) == args.owner
  if slot_request then
    local slot = scan.slots[slot_request.machine_id]
    local same = slot and not slot.action and slot.correlation == slot_request.correlation_id
    if slot and not same then
      if mine and not slot_request.wait then
        table.insert(scan.occupied, {ticket, slot.action or cjson.null})
        return 'refused', true
      end
      scan.blocked = scan.blocked or mine
      return nil, true
    end
    if scan.claimed[slot_request.machine_id] or (not same and scan.free == 0) then
      scan.blocked = scan.blocked or mine
      return nil, true
    end
    if not same then
      scan.free = scan.free - 1
    end
    scan.claimed[slot_request.machine_id] = true
  end
  local answer
  if scan.eligible < scan.room then
    if mine then
      table.insert(scan.granted, ticket)
      answer = 'granted'
    end
  elseif mine and not scan.ahead then
    scan.ahead = scan.eligible - #scan.granted
  end
  scan.eligible = scan.eligible + 1
  return answer, slot_request or not scan.ahead
end

local function slot_request_of(ticket)
  local slot_request = args.slot_limit and redis.call('HGET', key('slot_requests'), ticket)
  return slot_request and cjson.decode(slot_request) or nil
end

-- Scans the queue in batches, because its head is usually enough. Returns whether new tickets
-- matter too.
local function scan_queue(window, scan, overdue)
  local from, on = 0, true
  while on do
    local batch = redis.call('ZRANGE', queue_of(window), from, from + 63)
    for _, ticket in ipairs(batch) do
      local slot_request = slot_request_of(ticket)
      local answer
      if not overdue[string.sub(ticket, 1, 16)] then
        answer, on = step(scan, ticket, slot_request)
      end
      if answer then
        dequeue(window, ticket)
        -- The ranks after the removed ticket move down by one.
        from = from - 1
      end
      if answer == 'granted' then
        begin(window, ticket, slot_request)
      end
      if not on then
        return false
      end
    end
    if #batch < 64 then
      return true
    end
    from = from + 64
  end
end

-- Scans the new tickets, and queues those that must wait.
local function join(window, scan, on)
  for _, entry in ipairs(args.join) do
    local ticket, slot_request = entry[1], entry[2]
    -- After a lost answer, the store already knows some of the tickets.
    if args.is_retry and redis.call('ZSCORE', calls_of(window), ticket) then
      table.insert(scan.granted, ticket)
    elseif not (args.is_retry and redis.call('ZSCORE', queue_of(window), ticket)) then
      local answer
      if on then
        answer, on = step(scan, ticket, slot_request)
      end
      if answer == 'granted' then
        begin(window, ticket, slot_request)
      elseif not answer then
        local position = redis.call('HINCRBY', key('epoch'), 'position', 1)
        redis.call('ZADD', queue_of(window), position, ticket)
        if slot_request then
          redis.call('HSET', key('slot_requests'), ticket, cjson.encode(slot_request))
        end
      end
    end
  end
end

function op.request_admission()
  local window = args.window
  local known, overdue = renew(window)
  for _, ticket in ipairs(args.leave) do
    leave(window, ticket)
  end
  redis.call('ZREMRANGEBYSCORE', calls_of(window), '-inf', text(now - args.longest - WINDOW_MARGIN))
  local scan = new_scan(window)
  join(window, scan, scan_queue(window, scan, overdue))
  -- -1: nobody waits, or only a change can help.
  local wait = -1
  if scan.ahead then
    wait = math.min(RENEWAL_INTERVAL, earliest(window, scan.ahead) - now)
  end
  if scan.blocked and (wait < 0 or wait > SLOT_POLL_INTERVAL) then
    wait = SLOT_POLL_INTERVAL
  end
  set_deadline(window, wait)
  return {granted = scan.granted, occupied = scan.occupied, owner_unknown = not known,
    sessions_unknown = sessions_unknown and args.slot_limit ~= nil, wait = text(wait)}
end
