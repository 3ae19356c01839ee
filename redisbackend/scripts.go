package redisbackend

import "github.com/redis/rueidis"

// library is what the scripts share.
//
// meta has the epoch and the seq of the newest record, the newest revision, and the
// run id of the server that set the epoch. A server that is not that one was
// restarted, or promoted after a failover, and has perhaps lost the tail of the log:
// then the epoch is raised, to a number that was never used, and what is left of the
// old one is dropped. So it is where a node has seen a greater epoch: then the server is a
// former master which nobody has told of the other one, and is the master again.
//
// due returns the revision that a change gets, or false if the record has another one than
// the change names. It changes nothing. Redis does not undo what a script has done before it
// fails, as it does at a key that another program has made something else of. So each script
// first looks at its keys, then appends, and then changes the record.
const library = `
local function clock()
  local t = redis.call('TIME')
  return t[1] * 1000000 + t[2]
end
local function whole(n) return string.format('%.0f', n) end
local function fence(log, meta, seen)
  local m = redis.call('HMGET', meta, 'epoch', 'seq', 'run')
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
  if m[1] and m[3] == run and tonumber(m[1]) >= tonumber(seen) then return m[1], m[2] end
  local epoch = whole(math.max(tonumber(m[1] or '0') + 1, tonumber(seen) + 1, clock()))
  redis.call('HSET', meta, 'epoch', epoch, 'seq', '0', 'run', run)
  redis.call('XTRIM', log, 'MINID', epoch .. '-0')
  return epoch, '0'
end
local function append(log, meta, idkey, id, data, cause, window, events, seen)
  local epoch = fence(log, meta, seen)
  if id ~= '' then
    local old = redis.call('GET', idkey)
    if old and string.sub(old, 1, #epoch + 1) == epoch .. '-' then return old end
  end
  local pos = epoch .. '-' .. redis.call('HINCRBY', meta, 'seq', 1)
  redis.call('XADD', log, 'MAXLEN', '~', events, pos, 'i', id, 'd', data, 'c', cause, 't', whole(clock() / 1000))
  if id ~= '' then redis.call('SET', idkey, pos, 'PX', window) end
  return pos
end
local function due(hash, groups, meta, group, name, ifrev)
  local it = redis.call('HGET', hash, name)
  redis.call('SISMEMBER', groups, group)
  local rev = it and string.match(it, '^(%d+):') or '0'
  if rev ~= ifrev then return false end
  return whole(math.max(tonumber(redis.call('HGET', meta, 'rev') or '0') + 1, clock()))
end
local function put(hash, groups, meta, group, name, new, value, delete)
  redis.call('HSET', meta, 'rev', new)
  if delete == '1' then
    redis.call('HDEL', hash, name)
    if redis.call('EXISTS', hash) == 0 then redis.call('SREM', groups, group) end
  else
    redis.call('HSET', hash, name, new .. ':' .. value)
    redis.call('SADD', groups, group)
  end
end
`

var (
	// KEYS log, meta, id; ARGV id, data, window, events, the greatest epoch that was seen
	appendScript = rueidis.NewLuaScript(library + `
return append(KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2], '0', ARGV[3], ARGV[4], ARGV[5])`)

	// KEYS hash, groups, meta; ARGV group, name, revision, value, delete
	putScript = rueidis.NewLuaScript(library + `
local rev = due(KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2], ARGV[3])
if rev then put(KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2], rev, ARGV[4], ARGV[5]) end
return rev`)

	// KEYS hash, groups, meta, log, id; ARGV as of putScript, then as of appendScript
	stepScript = rueidis.NewLuaScript(library + `
local rev = due(KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2], ARGV[3])
if rev then
  append(KEYS[4], KEYS[3], KEYS[5], ARGV[6], ARGV[7], rev, ARGV[8], ARGV[9], ARGV[10])
  put(KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2], rev, ARGV[4], ARGV[5])
end
return rev`)

	// KEYS log, meta; ARGV after, limit, bytes, the greatest epoch that was seen
	// It returns the head, the first record's position or '', and the records.
	readScript = rueidis.NewLuaScript(library + `
local epoch, seq = fence(KEYS[1], KEYS[2], ARGV[4])
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
local after, limit, room = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local found = {}
while #found < limit and room > 0 do
  local some = redis.call('XRANGE', KEYS[1], '(' .. after, '+', 'COUNT', math.min(8, limit - #found))
  if #some == 0 then break end
  for _, entry in ipairs(some) do
    table.insert(found, entry)
    for _, field in ipairs(entry[2]) do room = room - #field end
    after = entry[1]
  end
end
return {epoch .. '-' .. seq, first[1] and first[1][1] or '', found}`)
)
