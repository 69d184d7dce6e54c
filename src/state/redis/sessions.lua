-- Slots, intents and cached statuses. A slot is the JSON value of its machine in the hash `slots`.
local function intent_of(machine, correlation)
  return key('intent', machine, correlation)
end

local function slot_on(machine)
  local slot = redis.call('HGET', key('slots'), machine)
  slot = slot and cjson.decode(slot)
  return slot and tonumber(slot.ends) > now and slot or nil
end

local function free_slot(machine)
  redis.call('HDEL', key('slots'), machine)
end

local function read_intent(name)
  local fields = redis.call('HMGET', name, 'commands', 'comment', 'created', 'posted', 'action',
    'lease_until')
  if not fields[1] then
    return nil
  end
  return {commands = fields[1], comment = fields[2], created = fields[3], posted = fields[4] == '1',
    action_id = fields[5] or nil, lease_held = tonumber(fields[6] or '0') > now}
end

function op.release_slot()
  local slot = slot_on(args.machine)
  if slot and slot.ticket == args.ticket and not slot.action then
    free_slot(args.machine)
  end
end

function op.close_session()
  for machine, slot in pairs((read_open_slots())) do
    if slot.action and string.lower(slot.action) == string.lower(args.action) then
      free_slot(machine)
      return {freed = true}
    end
  end
  return {freed = false}
end

function op.slots()
  local list = {}
  for machine, slot in pairs((read_open_slots())) do
    table.insert(list, {machine_id = machine, correlation_id = slot.correlation,
      action_id = slot.action, ends = slot.ends,
      in_doubt = slot.posted and text(now - tonumber(slot.posted)) or nil})
  end
  return {slots = list}
end

function op.release_in_doubt_slot()
  local slot = slot_on(args.machine)
  local in_doubt = slot and not slot.action and slot.posted
  local freed = in_doubt and now - tonumber(slot.posted) >= args.seconds
  if freed then
    free_slot(args.machine)
  end
  return {freed = freed and true or false}
end

function op.record_open_sessions()
  for _, session in ipairs(args.sessions) do
    if not slot_on(session.machine) then
      put_slot(session.machine, {action = session.action, ends = text(now + session.lease),
        lease = session.lease})
    end
  end
end

local function is_open(machine, correlation)
  local slot = slot_on(machine)
  return slot and slot.correlation == correlation
end

-- Deletes a few intents past their retention, and index entries of those that have expired.
local function sweep_intents()
  local old = text(now - args.keep)
  local ids = redis.call('ZRANGEBYSCORE', key('intents'), '-inf', old, 'LIMIT', 0, args.batch)
  for _, id in ipairs(ids) do
    local pair = cjson.decode(id)
    local name = intent_of(pair[1], pair[2])
    local intent = read_intent(name)
    local in_doubt = intent and intent.posted and not intent.action_id
    if in_doubt or is_open(pair[1], pair[2]) or (intent and intent.lease_held) then
      redis.call('ZADD', key('intents'), text(now), id)
    else
      redis.call('DEL', name)
      redis.call('ZREM', key('intents'), id)
    end
  end
end

-- An intent in doubt never expires.
local function keep_for(name, in_doubt)
  if in_doubt then
    redis.call('PERSIST', name)
  else
    redis.call('EXPIRE', name, math.ceil(args.keep))
  end
end

function op.get_or_create_intent()
  local name = intent_of(args.machine, args.correlation)
  local known = read_intent(name)
  if not known then
    redis.call('HSET', name, 'commands', args.commands, 'comment', args.comment,
      'created', text(now), 'posted', '0')
    keep_for(name, false)
    sweep_intents()
    redis.call('ZADD', key('intents'), text(now), cjson.encode({args.machine, args.correlation}))
  end
  local lost_at = math.max(known_since, tonumber(epoch[10] or '0'))
  local lost = lost_at > 0 and text(now - lost_at) or nil
  return {intent = read_intent(name), known = known ~= nil, since_state_loss = lost}
end

function op.get_intent()
  return {intent = read_intent(intent_of(args.machine, args.correlation))}
end

function op.acquire_lease()
  local name = intent_of(args.machine, args.correlation)
  local lease = redis.call('HMGET', name, 'commands', 'lease_token', 'lease_until')
  if not lease[1] or (lease[2] and lease[2] ~= args.token and tonumber(lease[3]) > now) then
    return {held = false}
  end
  redis.call('HSET', name, 'lease_token', args.token, 'lease_until', text(now + args.lease))
  return {held = true}
end

function op.renew_lease()
  local name = intent_of(args.machine, args.correlation)
  if redis.call('HGET', name, 'lease_token') ~= args.token then
    return {held = false}
  end
  redis.call('HSET', name, 'lease_until', text(now + args.lease))
  return {held = true}
end

local function delete_intent(name)
  redis.call('DEL', name)
  redis.call('ZREM', key('intents'), cjson.encode({args.machine, args.correlation}))
  local slot = slot_on(args.machine)
  if slot and slot.correlation == args.correlation and not slot.action then
    free_slot(args.machine)
  end
end

-- Ends the lease. If nothing of the intent was sent, deletes it and frees its slot, unless another
-- token holds the lease.
function op.release_lease()
  local name = intent_of(args.machine, args.correlation)
  local intent = redis.call('HMGET', name, 'lease_token', 'posted', 'action')
  if intent[1] and intent[1] ~= args.token then
    return
  end
  if intent[2] == '0' and not intent[3] then
    delete_intent(name)
  elseif intent[2] then
    redis.call('HDEL', name, 'lease_token', 'lease_until')
  end
end

function op.record_posted()
  local name = intent_of(args.machine, args.correlation)
  local lease = redis.call('HMGET', name, 'lease_token', 'lease_until')
  if lease[1] ~= args.token or tonumber(lease[2]) <= now then
    return {check = 'no lease'}
  end
  if args.posted then
    local slot = slot_on(args.machine)
    if not slot or slot.correlation ~= args.correlation then
      return {check = 'no slot'}
    end
    -- The session may run from now on, so the slot is held for its full lease.
    slot.ends, slot.posted = text(now + slot.lease), text(now)
    put_slot(args.machine, slot)
  end
  redis.call('HSET', name, 'posted', args.posted and '1' or '0')
  keep_for(name, args.posted and redis.call('HEXISTS', name, 'action') == 0)
  return {check = 'held'}
end

function op.record_action()
  local name = intent_of(args.machine, args.correlation)
  if redis.call('EXISTS', name) == 1 then
    redis.call('HSET', name, 'action', args.action)
    index_action(args.action)
    keep_for(name, false)
  end
  -- A slot that another intent took since must not be replaced or freed.
  local slot = slot_on(args.machine)
  if slot and slot.correlation ~= args.correlation then
    return
  end
  if args.lease then
    put_slot(args.machine, {correlation = args.correlation, action = args.action,
      ends = text(now + args.lease), lease = args.lease})
  else
    free_slot(args.machine)
  end
end

function op.delete_unsent_intent()
  local name = intent_of(args.machine, args.correlation)
  if redis.call('EXISTS', name) == 0 or redis.call('HGET', name, 'action') then
    return
  end
  delete_intent(name)
end

function op.cache_statuses()
  for _, status in ipairs(args.statuses) do
    redis.call('HSET', key('cached_statuses'), status[1], status[2])
    redis.call('ZADD', key('status_times'), text(now), status[1])
  end
  -- Two for each one added, so that a backlog shrinks.
  local old = redis.call('ZRANGEBYSCORE', key('status_times'), '-inf', text(now - args.keep),
    'LIMIT', 0, 2 * #args.statuses)
  for _, action in ipairs(old) do
    redis.call('HDEL', key('cached_statuses'), action)
    redis.call('ZREM', key('status_times'), action)
  end
  redis.call('EXPIRE', key('cached_statuses'), math.ceil(args.keep))
  redis.call('EXPIRE', key('status_times'), math.ceil(args.keep))
end

function op.cached_statuses()
  local statuses = {}
  for _, action in ipairs(args.actions) do
    local seen = redis.call('ZSCORE', key('status_times'), action)
    local is_fresh = seen and now - tonumber(seen) <= args.max_age
    local body = is_fresh and redis.call('HGET', key('cached_statuses'), action)
    if body then
      table.insert(statuses, {action = action, body = body, age = text(now - tonumber(seen))})
    end
  end
  return {statuses = statuses}
end

function op.snapshot()
  local windows, intents = {}, {}
  for _, window in ipairs(args.windows) do
    table.insert(windows, {name = window[1],
      running = redis.call('ZCOUNT', calls_of(window[1]), '(' .. text(now), '+inf'),
      ended = redis.call('ZCOUNT', calls_of(window[1]), '(' .. text(now - window[2]), text(now)),
      waiting = redis.call('ZCARD', queue_of(window[1])),
      blocked_for = text(math.max(0, blocked_until(window[1]) - now))})
  end
  for _, id in ipairs(redis.call('ZRANGE', key('intents'), 0, -1)) do
    local pair = cjson.decode(id)
    table.insert(intents, {machine_id = pair[1], correlation_id = pair[2],
      intent = read_intent(intent_of(pair[1], pair[2]))})
  end
  return {now = text(now), windows = windows, intents = intents, slots = op.slots().slots}
end

function op.prune()
  local intents, statuses = 0, 0
  for _, id in ipairs(redis.call('ZRANGE', key('intents'), 0, -1)) do
    local pair = cjson.decode(id)
    local name = intent_of(pair[1], pair[2])
    local intent = read_intent(name)
    local is_old = not intent or tonumber(intent.created) <= now - args.seconds
    if is_old and not is_open(pair[1], pair[2]) and not (intent and intent.lease_held) then
      redis.call('DEL', name)
      redis.call('ZREM', key('intents'), id)
      if intent and intent.action_id then
        redis.call('ZREM', key('actions'), string.lower(intent.action_id))
      end
      intents = intents + 1
    end
  end
  local old = redis.call('ZRANGEBYSCORE', key('status_times'), '-inf', text(now - args.seconds))
  for _, action in ipairs(old) do
    redis.call('HDEL', key('cached_statuses'), action)
    redis.call('ZREM', key('status_times'), action)
    statuses = statuses + 1
  end
  return {intents = intents, statuses = statuses, runs = op.prune_runs(args.seconds)}
end

