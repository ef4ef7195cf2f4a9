-- put_controls(controls, complete, marker, field, value...) -> 1
--
-- KEYS[1]           hash  scope to trading state
--
-- complete          '1': these are all that the record knows, and the marker is set
-- marker            the field that says that the set is complete
-- field, value...   scopes and their states (JSON)
--
-- A state never takes the place of a stricter one; only ACTIVE does, which a resume sets, and only
-- of one that was set before it. Of two alike, the later one holds, for the same reason. What else
-- is there stays: it may be a halt that no record took.

local STRICTNESS = {ACTIVE = 0, REDUCE_ONLY = 1, HALTED = 2}

local TIME_DIGITS = 20

-- As digits, since doubles hold no nanoseconds. Within a text the quotes would be escaped.
local function set_at(json)
  local digits = string.match(json, '"set_at_ns":(%d+)') or ''
  return string.rep('0', TIME_DIGITS - #digits) .. digits
end

-- What cannot be read gives way: it would leave all controls unknown.
local function gives_way(there, new)
  local known, old = pcall(cjson.decode, there)
  local old_rank = known and type(old) == 'table' and STRICTNESS[old.state]
  if not old_rank then return true end
  local new_rank = STRICTNESS[cjson.decode(new).state]
  if new_rank == old_rank or new_rank == STRICTNESS.ACTIVE then
    return set_at(there) <= set_at(new)
  end
  return old_rank < new_rank
end

for i = 3, #ARGV, 2 do
  local there = redis.call('HGET', KEYS[1], ARGV[i])
  if not there or gives_way(there, ARGV[i + 1]) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
if ARGV[1] == '1' then redis.call('HSET', KEYS[1], ARGV[2], '1') end
return 1
