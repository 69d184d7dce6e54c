-- One call is one decision. KEYS[1]: what all keys of a quota key begin with. ARGV: the operation, the epoch that the
-- caller knows, a time set by a test, and the operation's arguments as JSON.
local base = KEYS[1]
local args = cjson.decode(ARGV[4])
local WINDOW_MARGIN, OWNER_GRACE, OWNER_LEASE, RENEWAL_INTERVAL, SLOT_POLL_INTERVAL, UNPOSTED_GRACE = 0.001, 1, 10, 3, 1, 30

local function text(time)
  return string.format('%.6f', time)
end

local function key(name, ...)
  return table.concat({base, name, ...}, ':')
end

-- Microseconds are as fine as a score and a text can hold.
local function read_time()
  if ARGV[3] ~= '' then
    return tonumber(ARGV[3])
  end
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1e6
end

-- A clock that was set back stands still for a moment, and then runs on.
local function advance(epoch)
  local offset, last = tonumber(epoch[3]), tonumber(epoch[4])
  local now = read_time() + offset
  if now < last then
    offset = offset + last - now
    now = last
  end
  redis.call('HSET', key('epoch'), 'offset', text(offset), 'last', text(now))
  return now
end

local function create_epoch()
  local now = read_time()
  local known_since = now - args.known_for
  redis.call('HSET', key('epoch'), 'id', args.id, 'known_since', text(known_since), 'offset', '0', 'last', text(now),
    'created', text(now), 'sessions_unknown', args.sessions_unknown, 'loss_certain', args.loss_certain, 'version', args.version)
  redis.call('SADD', 'mlr:quotas', args.quota)
  return now
end

local function read_epoch()
  return redis.call('HMGET', key('epoch'), 'id', 'known_since', 'offset', 'last', 'created', 'sessions_unknown', 'loss_certain', 'version')
end

local epoch = read_epoch()
if ARGV[1] == 'init' then
  if not epoch[1] then
    create_epoch()
    epoch = read_epoch()
  end
  return cjson.encode({epoch = epoch[1], version = epoch[8]})
end
if not epoch[1] then
  return '{"lost":true}'
end
local now = advance(epoch)
-- Nothing is known of calls before `known_since`. Whoever knew an earlier epoch is certain that some were forgotten, up to
-- the time when this one was made.
local known_since, loss_certain, sessions_unknown = tonumber(epoch[2]), epoch[7] == '1', epoch[6] == '1'
if ARGV[2] ~= '' and ARGV[2] ~= epoch[1] and not loss_certain then
  known_since, loss_certain, sessions_unknown = tonumber(epoch[5]), true, true
  redis.call('HSET', key('epoch'), 'known_since', text(known_since), 'loss_certain', '1', 'sessions_unknown', '1')
end
local op = {}
