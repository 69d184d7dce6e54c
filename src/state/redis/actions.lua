-- Which actions this quota key started. `actions`: their ids in lower case, by when they were
-- recorded.
local function index_action(action)
  redis.call('ZADD', key('actions'), text(now), string.lower(action))
  redis.call('ZREMRANGEBYSCORE', key('actions'), '-inf', text(now - args.keep))
end

-- Data of a library that kept no such index gets one with the first question.
local function index_earlier_actions()
  if redis.call('HGET', key('epoch'), 'actions_indexed') then
    return
  end
  for _, id in ipairs(redis.call('ZRANGE', key('intents'), 0, -1)) do
    local pair = cjson.decode(id)
    local action = redis.call('HGET', key('intent', pair[1], pair[2]), 'action')
    if action then
      index_action(action)
    end
  end
  redis.call('HSET', key('epoch'), 'actions_indexed', '1')
end

function op.is_action_recorded()
  index_earlier_actions()
  return {yes = redis.call('ZSCORE', key('actions'), string.lower(args.action)) and true or false}
end

function op.record_unreliable_comments()
  redis.call('HSET', key('epoch'), 'unreliable_comments', '1')
end

function op.has_unreliable_comments()
  return {yes = redis.call('HGET', key('epoch'), 'unreliable_comments') == '1'}
end
