local function of_run(name)
  return key(name, args.run)
end

local function is_known()
  return redis.call('HEXISTS', key('runs'), args.run) == 1
end

local function own(row, machine)
  redis.call('HSETNX', of_run('owners'), machine, row)
  return tonumber(redis.call('HGET', of_run('owners'), machine))
end

local function row_state(row)
  local known = redis.call('HGET', of_run('rows'), row)
  if not known then
    return nil
  end
  local state = cjson.decode(known)
  state.row = tonumber(row)
  state.machine_id = redis.call('HGET', of_run('machines'), row) or state.machine_id
  state.progress = redis.call('HGET', of_run('progress'), row) or nil
  state.done = redis.call('HEXISTS', of_run('done'), row) == 1
  return state
end

local function attends(worker)
  local ends = redis.call('HGET', of_run('workers'), worker)
  return ends and tonumber(ends) > now
end

-- The rows of a run that is not begun yet are kept apart, and forgotten if it never is.
function op.draft_rows()
  local draft = key('draft', args.draft)
  for at, row in ipairs(args.rows) do
    redis.call('HSET', draft, string.format('%d', args.from + at - 1), row)
  end
  redis.call('EXPIRE', draft, 3600)
end

function op.begin_run()
  local draft = key('draft', args.draft)
  if is_known() then
    redis.call('DEL', draft)
    return {head = redis.call('HGET', key('runs'), args.run)}
  end
  if redis.call('EXISTS', draft) == 1 then
    redis.call('RENAME', draft, of_run('rows'))
    redis.call('PERSIST', of_run('rows'))
  end
  redis.call('HSET', key('runs'), args.run, args.head)
  redis.call('HSET', key('begun'), args.run, text(now))
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

-- Forgets runs that began more than so many seconds ago and that nobody is at.
function op.prune_runs(seconds)
  local count = 0
  for _, run in ipairs(redis.call('HKEYS', key('runs'))) do
    local begun = tonumber(redis.call('HGET', key('begun'), run) or '0')
    if begun <= now - seconds and not has_worker(run) then
      for _, name in ipairs({'rows', 'owners', 'machines', 'progress', 'workers', 'claims', 'done', 'outcomes', 'results'}) do
        redis.call('DEL', key(name, run))
      end
      for _, name in ipairs({'runs', 'stops', 'begun'}) do
        redis.call('HDEL', key(name), run)
      end
      count = count + 1
    end
  end
  return count
end

function op.own_rows()
  for _, pair in ipairs(args.machines) do
    own(string.format('%d', pair[1]), pair[2])
  end
end

function op.run()
  if not is_known() then
    return {gone = true}
  end
  return {head = redis.call('HGET', key('runs'), args.run), stopped = redis.call('HGET', key('stops'), args.run) or nil}
end

function op.run_rows()
  if not is_known() then
    return {gone = true}
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

function op.resolved()
  if not is_known() then
    return {gone = true}
  end
  local list = {}
  for _, pair in ipairs(args.machines) do
    local row = string.format('%d', pair[1])
    redis.call('HSET', of_run('machines'), row, pair[2])
    table.insert(list, {pair[1], own(row, pair[2])})
  end
  return {owners = list}
end

function op.attend()
  if not is_known() then
    return {gone = true}
  end
  if args.lease > 0 then
    redis.call('HSET', of_run('workers'), args.worker, text(now + args.lease))
  else
    redis.call('HDEL', of_run('workers'), args.worker)
  end
end

function op.claim()
  if not is_known() then
    return {gone = true}
  end
  for _, candidate in ipairs(args.candidates) do
    local row = string.format('%d', candidate)
    local holder = redis.call('HGET', of_run('claims'), row)
    local done = redis.call('HEXISTS', of_run('done'), row) == 1
    if not done and (not holder or holder == args.worker or not attends(holder)) then
      redis.call('HSET', of_run('claims'), row, args.worker)
      return {row = row_state(row)}
    end
  end
end

-- The caller has put together what it and the store know; a newer one than it knew makes it try again.
function op.row_progress()
  if not is_known() then
    return {gone = true}
  end
  local row = string.format('%d', args.row)
  local known = redis.call('HGET', of_run('progress'), row) or ''
  if known ~= args.before then
    return {before = known}
  end
  redis.call('HSET', of_run('progress'), row, args.progress)
end

function op.finish_row()
  if not is_known() then
    return {gone = true}
  end
  local row = string.format('%d', args.row)
  if redis.call('HEXISTS', of_run('done'), row) == 1 then
    return {first = false}
  end
  local number = redis.call('RPUSH', of_run('outcomes'), cjson.encode({args.row, args.outcome}))
  redis.call('HSET', of_run('done'), row, number)
  if args.result then
    redis.call('HSET', of_run('results'), row, args.result)
  end
  return {first = true}
end

function op.run_outcomes()
  if not is_known() then
    return {gone = true}
  end
  return {outcomes = redis.call('LRANGE', of_run('outcomes'), args.after, args.after + args.count - 1)}
end

function op.row_result()
  if not is_known() then
    return {gone = true}
  end
  return {result = redis.call('HGET', of_run('results'), string.format('%d', args.row)) or nil}
end

function op.stop_run()
  if not is_known() then
    return {gone = true}
  end
  local known = redis.call('HGET', key('stops'), args.run)
  if not known or (args.running and not cjson.decode(known).running) then
    redis.call('HSET', key('stops'), args.run, args.stop)
  end
end

return cjson.encode({epoch = epoch[1], done = op[ARGV[1]]() or {}})
