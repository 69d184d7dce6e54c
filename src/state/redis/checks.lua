-- Whether the data is whole, and what the service's list adds to it. `listed`: actions that a list
-- showed and the store did not know, by when. `sessions_unknown`: no list was read since the data
-- was created, or since it may have gone back.
function op.needs_check()
  return {yes = sessions_unknown}
end

-- The server was restarted or replaced: it may have gone back to older data.
function op.distrust()
  redis.call('HSET', key('epoch'), 'sessions_unknown', '1')
end

function op.find_unknown_actions()
  index_earlier_actions()
  local unknown = {}
  for _, action in ipairs(args.actions) do
    local id = string.lower(action)
    if not redis.call('ZSCORE', key('actions'), id) and not redis.call('ZSCORE', key('listed'), id) then
      table.insert(unknown, action)
    end
  end
  return {actions = unknown}
end

function op.record_check()
  redis.call('ZREMRANGEBYSCORE', key('listed'), '-inf', text(now - args.keep_listed))
  for _, action in ipairs(args.unknown) do
    redis.call('ZADD', key('listed'), text(now), string.lower(action[1]))
    if action[2] <= args.longest then
      redis.call('ZADD', calls_of(args.window), text(now - action[2]), 'listed as ' .. action[1])
    end
  end
  op.record_open_sessions()
  if #args.unknown > 0 then
    redis.call('HSET', key('epoch'), 'lost', text(now))
  end
  redis.call('HSET', key('epoch'), 'sessions_unknown', '0')
end
