-- Fleet runs. An operation on a run that does not exist returns {missing = true}.
local function run_key(name)
  return key(name, args.run)
end

local function run_exists()
  return redis.call('HEXISTS', key('runs'), args.run) == 1
end

-- Returns the first row that named the machine: this row, if no other did.
local function claim_machine(row, machine)
  redis.call('HSETNX', run_key('machine_owners'), machine, row)
  return tonumber(redis.call('HGET', run_key('machine_owners'), machine))
end

local function row_state(row)
  local known = redis.call('HGET', run_key('rows'), row)
  if not known then
    return nil
  end
  local state = cjson.decode(known)
  state.row = tonumber(row)
  state.machine_id = redis.call('HGET', run_key('machines'), row) or state.machine_id
  state.progress = redis.call('HGET', run_key('progress'), row) or nil
  state.done = redis.call('HEXISTS', run_key('done'), row) == 1
  state.unreached = redis.call('HGET', run_key('unreached'), row) or nil
  return state
end

local function is_alive(worker)
  local ends = redis.call('HGET', run_key('workers'), worker)
  return ends and tonumber(ends) > now
end

-- Stores rows of a run that does not exist yet. They expire if it is never created.
function op.draft_rows()
  local draft = key('draft', args.draft)
  for at, row in ipairs(args.rows) do
    redis.call('HSET', draft, string.format('%d', args.from + at - 1), row)
  end
  redis.call('EXPIRE', draft, 3600)
end

function op.create_run()
  local draft = key('draft', args.draft)
  if run_exists() then
    redis.call('DEL', draft)
    return {head = redis.call('HGET', key('runs'), args.run)}
  end
  if redis.call('EXISTS', draft) == 1 then
    redis.call('RENAME', draft, run_key('rows'))
    redis.call('PERSIST', run_key('rows'))
  end
  redis.call('HSET', key('runs'), args.run, args.head)
  redis.call('HSET', key('created'), args.run, text(now))
  redis.call('HSET', key('ok'), args.run, '0')
  return {}
end

local function has_worker(run)
  for _, ends in ipairs(redis.call('HVALS', key('workers', run))) do
    if tonumber(ends) > now then
      return true
    end
  end
  return false
end

-- Deletes runs that started more than `seconds` ago and have no live worker.
function op.prune_runs(seconds)
  local count = 0
  for _, run in ipairs(redis.call('HKEYS', key('runs'))) do
    local created = tonumber(redis.call('HGET', key('created'), run) or '0')
    if created <= now - seconds and not has_worker(run) then
      for _, name in ipairs({'rows', 'machine_owners', 'machines', 'progress', 'workers', 'claims',
        'done', 'outcomes', 'results', 'unreached', 'last_outcomes'}) do
        redis.call('DEL', key(name, run))
      end
      for _, name in ipairs({'runs', 'stops', 'created', 'ok'}) do
        redis.call('HDEL', key(name), run)
      end
      count = count + 1
    end
  end
  return count
end

function op.record_machine_owners()
  for _, pair in ipairs(args.machines) do
    claim_machine(string.format('%d', pair[1]), pair[2])
  end
end

function op.get_run()
  if not run_exists() then
    return {missing = true}
  end
  return {head = redis.call('HGET', key('runs'), args.run),
    stopped = redis.call('HGET', key('stops'), args.run) or nil}
end

function op.list_unfinished_runs()
  local heads = {}
  for _, run in ipairs(redis.call('HKEYS', key('runs'))) do
    if redis.call('HLEN', key('done', run)) < redis.call('HLEN', key('rows', run)) then
      table.insert(heads, redis.call('HGET', key('runs'), run))
    end
  end
  return {heads = heads}
end

function op.list_rows()
  if not run_exists() then
    return {missing = true}
  end
  local list = {}
  for row = args.from, args.from + args.count - 1 do
    local state = row_state(string.format('%d', row))
    if not state then
      break
    end
    table.insert(list, state)
  end
  return {rows = list}
end

function op.record_machines()
  if not run_exists() then
    return {missing = true}
  end
  local list = {}
  for _, pair in ipairs(args.machines) do
    local row = string.format('%d', pair[1])
    redis.call('HSET', run_key('machines'), row, pair[2])
    table.insert(list, {pair[1], claim_machine(row, pair[2])})
  end
  return {owners = list}
end

-- Sets another machine of a row, if it was not tried again since `parked` was read.
function op.move_row()
  if not run_exists() then
    return {missing = true}
  end
  local row = string.format('%d', args.row)
  local known = redis.call('HGET', run_key('progress'), row)
  local parked = known and cjson.decode(known).parked or 0
  if parked ~= args.parked or redis.call('HEXISTS', run_key('done'), row) == 1 then
    return {}
  end
  redis.call('HSET', run_key('machines'), row, args.machine)
  return {owner = claim_machine(row, args.machine)}
end

function op.heartbeat()
  if not run_exists() then
    return {missing = true}
  end
  if args.lease > 0 then
    redis.call('HSET', run_key('workers'), args.worker, text(now + args.lease))
  else
    redis.call('HDEL', run_key('workers'), args.worker)
  end
end

function op.claim_row()
  if not run_exists() then
    return {missing = true}
  end
  for _, candidate in ipairs(args.candidates) do
    local row = string.format('%d', candidate)
    local holder = redis.call('HGET', run_key('claims'), row)
    local done = redis.call('HEXISTS', run_key('done'), row) == 1
    if not done and (not holder or holder == args.worker or not is_alive(holder)) then
      redis.call('HSET', run_key('claims'), row, args.worker)
      return {row = row_state(row)}
    end
  end
end

-- The caller has merged its progress with `before`. If another was stored meanwhile, the caller
-- merges again.
function op.record_progress()
  if not run_exists() then
    return {missing = true}
  end
  local row = string.format('%d', args.row)
  local known = redis.call('HGET', run_key('progress'), row) or ''
  if known ~= args.before then
    return {before = known}
  end
  redis.call('HSET', run_key('progress'), row, args.progress)
end

function op.get_result()
  if not run_exists() then
    return {missing = true}
  end
  return {result = redis.call('HGET', run_key('results'), string.format('%d', args.row)) or nil}
end

function op.request_stop()
  if not run_exists() then
    return {missing = true}
  end
  local known = redis.call('HGET', key('stops'), args.run)
  if not known or (args.running and not cjson.decode(known).running) then
    redis.call('HSET', key('stops'), args.run, args.stop)
  end
end
