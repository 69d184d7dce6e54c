-- One call of the script is one operation. KEYS[1]: the prefix of all Redis keys of a quota key.
-- ARGV: the operation, the epoch that the caller knows, a time set by a test, and the arguments as
-- JSON.
local base = KEYS[1]
local args = cjson.decode(ARGV[4])
-- The constants of state/queue_scan.rs. A test there checks that they agree.
local WINDOW_MARGIN, OWNER_GRACE, OWNER_LEASE = 0.001, 1, 10
-- Seconds after the last operation for which a new process trusts the data without a check.
local JUST_NOW = 2
local RENEWAL_INTERVAL, SLOT_POLL_INTERVAL, UNPOSTED_GRACE = 3, 1, 30

local function text(time)
  return string.format('%.6f', time)
end

local function key(name, ...)
  return table.concat({base, name, ...}, ':')
end

-- The score of a sorted set is a double: it holds a time of today to the microsecond.
local function read_time()
  if ARGV[3] ~= '' then
    return tonumber(ARGV[3])
  end
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1e6
end

-- Returns a time that never goes back. If the clock was set back, the time stays the same once and
-- then goes on.
local function advance(epoch, count)
  local offset, last = tonumber(epoch[3]), tonumber(epoch[4])
  local now = read_time() + offset
  if now < last then
    offset = offset + last - now
    now = last
  end
  redis.call('HSET', key('epoch'), 'offset', text(offset), 'last', text(now), 'count', count)
  return now
end

-- An epoch is the time since the data was created. A new one means that all earlier data was lost.
local function create_epoch()
  local now = read_time()
  local known_since = args.loss_certain == '1' and now or 0
  redis.call('HSET', key('epoch'), 'id', args.id, 'known_since', text(known_since), 'offset', '0',
    'last', text(now), 'created', text(now), 'sessions_unknown', '1',
    'loss_certain', args.loss_certain, 'version', args.version, 'count', '0',
    'actions_indexed', '1', 'run_id', args.run_id)
  redis.call('SADD', 'mlr:quotas', args.quota)
end

local function read_epoch()
  return redis.call('HMGET', key('epoch'), 'id', 'known_since', 'offset', 'last', 'created',
    'sessions_unknown', 'loss_certain', 'version', 'count', 'lost', 'run_id')
end

local epoch = read_epoch()
if ARGV[1] == 'init' then
  if not epoch[1] then
    create_epoch()
    epoch = read_epoch()
  else
    local age = math.abs(read_time() + tonumber(epoch[3]) - tonumber(epoch[4]))
    -- Nobody uses the data now, or the server is not the one that made it. It may be an older copy.
    if (args.is_new and age > JUST_NOW) or epoch[11] ~= args.run_id then
      redis.call('HSET', key('epoch'), 'sessions_unknown', '1', 'run_id', args.run_id)
    end
  end
  return cjson.encode({epoch = epoch[1], version = epoch[8]})
end
if not epoch[1] then
  return '{"lost":true}'
end
-- The number of operations on this data. A caller that knows a higher one proves that the data has
-- gone back.
local count = tonumber(epoch[9] or '0') + 1
local has_gone_back = ARGV[2] == epoch[1] and ARGV[5] ~= '' and tonumber(ARGV[5]) >= count
if has_gone_back then
  -- Otherwise each further call of that caller would be such a proof.
  count = tonumber(ARGV[5]) + 1
end
local now = advance(epoch, string.format('%d', count))
-- Calls before `known_since` are not recorded. A caller that knows another epoch proves that data
-- was lost: then calls may have run until this epoch was created.
local known_since = tonumber(epoch[2])
local loss_certain, sessions_unknown = epoch[7] == '1', epoch[6] == '1'
if has_gone_back then
  sessions_unknown, epoch[10] = true, text(now)
  redis.call('HSET', key('epoch'), 'sessions_unknown', '1', 'lost', epoch[10])
end
if ARGV[2] ~= '' and ARGV[2] ~= epoch[1] and not loss_certain then
  known_since, loss_certain, sessions_unknown = tonumber(epoch[5]), true, true
  redis.call('HSET', key('epoch'), 'known_since', text(known_since), 'loss_certain', '1',
    'sessions_unknown', '1')
end
local op = {}
