-- Moves the key KEYS[1] to KEYS[2], or adds it to what is there.
local from, to = KEYS[1], KEYS[2]
if redis.call('EXISTS', from) == 0 then
  return 0
end
if redis.call('EXISTS', to) == 0 then
  redis.call('RENAME', from, to)
  return 1
end
local kind = redis.call('TYPE', from).ok
if kind == 'zset' then
  redis.call('ZUNIONSTORE', to, 2, to, from, 'AGGREGATE', 'MAX')
elseif kind == 'hash' then
  local all = redis.call('HGETALL', from)
  for i = 1, #all, 2 do
    redis.call('HSETNX', to, all[i], all[i + 1])
  end
end
redis.call('DEL', from)
return 1
