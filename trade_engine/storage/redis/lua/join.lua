-- join(replicas, replica, rules, alive_ms, how) -> {replica, rules, ...} of those by other rules
--
-- KEYS[1]           hash  replica to '<when it was last seen, ms> <its rules>'
--
-- how               'ask': nothing is written; 'join': this replica is entered unless one by other
--                   rules is alive; 'stay': it is entered in any case
--
-- The clock is this server's, so that the replicas' own need not agree. Whoever was not seen for
-- alive_ms is gone, and so is the hash once all are.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local alive_ms = tonumber(ARGV[3])
local rows = redis.call('HGETALL', KEYS[1])
local others, gone = {}, {}

for i = 1, #rows, 2 do
  local seen, rules = string.match(rows[i + 1], '^(%d+) (.*)$')
  if not seen or now - tonumber(seen) >= alive_ms then
    gone[#gone + 1] = rows[i]
  elseif rules ~= ARGV[2] and rows[i] ~= ARGV[1] then
    others[#others + 1] = rows[i]
    others[#others + 1] = rules
  end
end

if ARGV[4] == 'stay' or (ARGV[4] == 'join' and #others == 0) then
  if #gone > 0 then redis.call('HDEL', KEYS[1], unpack(gone)) end
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f ', now) .. ARGV[2])
  redis.call('PEXPIRE', KEYS[1], alive_ms)
end
return others
