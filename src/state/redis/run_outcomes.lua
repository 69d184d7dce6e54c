-- Outcomes of fleet runs, and what is counted of them.

-- Takes the place of an outcome that was withdrawn, so that the numbers of the others stay.
local WITHDRAWN = ''

-- A run without this count was started by an earlier version. Its outcomes are counted when the
-- runs are listed.
local function count_ok(change)
  if change ~= 0 and redis.call('HEXISTS', key('ok'), args.run) == 1 then
    redis.call('HINCRBY', key('ok'), args.run, change)
  end
end

-- Stores the result in place of that of an earlier session of the row.
local function store_result(row)
  if args.result then
    redis.call('HSET', run_key('results'), row, args.result)
  else
    redis.call('HDEL', run_key('results'), row)
  end
end

function op.finish_row()
  if not run_exists() then
    return {missing = true}
  end
  local row = string.format('%d', args.row)
  if redis.call('HEXISTS', run_key('done'), row) == 1 then
    return {first = false}
  end
  local number = redis.call('RPUSH', run_key('outcomes'), cjson.encode({args.row, args.outcome}))
  redis.call('HSET', run_key('done'), row, number)
  redis.call('HDEL', run_key('unreached'), row)
  redis.call('HDEL', run_key('last_outcomes'), row)
  count_ok(args.ok)
  store_result(row)
  return {first = true}
end

-- Returns whether the outcome with the given number is still `before`.
local function is_unchanged()
  local known = redis.call('LINDEX', run_key('outcomes'), args.number - 1)
  if not known or known == WITHDRAWN then
    return false
  end
  local pair = cjson.decode(known)
  return pair[1] == args.row and pair[2] == args.before
end

function op.replace_outcome()
  if not run_exists() then
    return {missing = true}
  end
  if not is_unchanged() then
    return {replaced = false}
  end
  redis.call('LSET', run_key('outcomes'), args.number - 1, cjson.encode({args.row, args.outcome}))
  store_result(string.format('%d', args.row))
  count_ok(args.ok)
  return {replaced = true}
end

function op.list_outcomes()
  if not run_exists() then
    return {missing = true}
  end
  -- Numbers are positions in the list. Pages in which all outcomes were withdrawn are passed over.
  local from = args.after
  repeat
    local page = redis.call('LRANGE', run_key('outcomes'), from, from + args.count - 1)
    for _, outcome in ipairs(page) do
      if outcome ~= WITHDRAWN then
        return {from = from, outcomes = page}
      end
    end
    from = from + #page
  until #page == 0
  return {from = from}
end

-- Returns some of the runs. The header has the commands of all machines, which stay here.
function op.list_runs()
  local runs = {}
  for _, run in ipairs(args.runs) do
    local head = redis.call('HGET', key('runs'), run)
    if head then
      local fields = cjson.decode(head)
      table.insert(runs, {run_id = run, comment = fields.comment, machines = fields.rows,
        created = redis.call('HGET', key('created'), run) or '0',
        done = redis.call('HLEN', key('done', run)),
        ok = tonumber(redis.call('HGET', key('ok'), run) or nil),
        cancelled = redis.call('HEXISTS', key('stops'), run) == 1})
    end
  end
  return {runs = runs}
end

function op.list_run_ids()
  return {ids = redis.call('HKEYS', key('runs'))}
end

function op.set_head()
  if not run_exists() then
    return {missing = true}
  end
  redis.call('HSET', key('runs'), args.run, args.head)
end

function op.record_unreached()
  if not run_exists() then
    return {missing = true}
  end
  local row = string.format('%d', args.row)
  if redis.call('HEXISTS', run_key('done'), row) == 0 then
    redis.call('HSET', run_key('unreached'), row, args.unreached)
    redis.call('HSET', run_key('last_outcomes'), row, args.outcome)
    store_result(row)
  end
end

function op.get_last_outcome()
  if not run_exists() then
    return {missing = true}
  end
  local row = string.format('%d', args.row)
  return {outcome = redis.call('HGET', run_key('last_outcomes'), row) or nil,
    result = redis.call('HGET', run_key('results'), row) or nil}
end

function op.withdraw_outcome()
  if not run_exists() then
    return {missing = true}
  end
  if not is_unchanged() then
    return {replaced = false}
  end
  local row = string.format('%d', args.row)
  redis.call('LSET', run_key('outcomes'), args.number - 1, WITHDRAWN)
  redis.call('HDEL', run_key('done'), row)
  redis.call('HSET', run_key('unreached'), row, args.unreached)
  redis.call('HSET', run_key('last_outcomes'), row, args.before)
  count_ok(args.ok)
  return {replaced = true}
end
