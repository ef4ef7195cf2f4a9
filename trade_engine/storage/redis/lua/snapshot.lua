-- snapshot(state, batch, throttle..., epoch, seq, now_s, now_n, batch_id, batch_ms, peek,
--          specs, (key, interval, tolerance)..., spec...)
--   -> {epoch, seq, fold, verdicts}
--
-- KEYS[1]   hash    the account's fold
-- KEYS[2]   string  the replica's last batch: its fingerprint, a newline, its verdicts
-- KEYS[3..] strings the throttles' theoretical arrival times (TAT), decimal ns
--
-- epoch, seq        what the caller has in hand (seq, a space, and its hash): the fold is sent only
--                   when it differs
-- now_s, now_n      the caller's time: whole seconds and the ns past them
-- batch_id          asked again with the same requests, the same verdicts come back, uncounted
-- batch_ms          how long they are remembered
-- peek              '1': answer each request as if it were alone, and count nothing
-- specs             how many (key, interval, tolerance) follow: which of the throttles (1 is
--                   KEYS[3]), its emission interval and its tolerance, in ns below 2^52
-- spec...           one per request, in order: which of the specs it is about; below 0 where it is
--                   for the same message as the next request, which takes from both or neither
--
-- epoch and seq in the answer are false when there is no fold; fold is false, or field, value...
-- verdicts is one number for each request, space-separated: how many more would be allowed now, or,
-- when it is refused, minus the ns after which it would not be.
--
-- Numbers here are doubles, exact up to 2^53, and an instant in ns is beyond. So a TAT is taken
-- apart into seconds and ns, and reckoned as the time that it is ahead of now. It never counts as
-- further ahead than 2^52 ns (52 days), which only a clock that was set back could make it.

local HORIZON_NS = 4503599627370496
-- Callers' clocks may differ by so much before a TAT is forgotten early. What a clock that was set
-- ahead left here holds the others up for so long at most, beyond what the throttle itself asks.
local SLACK_MS = 5000

local FIRST_SPEC = 9

local now_s, now_n = tonumber(ARGV[3]), tonumber(ARGV[4])
local peek = ARGV[7] == '1'

local function ahead_of_now(tat)
  if not tat then return 0 end
  local seconds = tonumber(string.sub(tat, 1, -10)) - now_s
  local ns = seconds * 1e9 + (tonumber(string.sub(tat, -9)) - now_n)
  return math.min(math.max(ns, 0), HORIZON_NS)
end

local function keep(key, ahead)
  local ns = now_n + ahead
  local tat = string.format('%d%09d', now_s + math.floor(ns / 1e9), ns % 1e9)
  redis.call('SET', key, tat, 'PX', math.ceil(ahead / 1e6) + SLACK_MS)
end

local function ask_throttles()
  local ahead, counted, answers = {}, {}, {}
  for i, tat in ipairs(redis.call('MGET', unpack(KEYS, 3))) do
    ahead[i] = ahead_of_now(tat)
  end
  local specs = {}
  local first_request = FIRST_SPEC + 3 * tonumber(ARGV[8])
  for i = FIRST_SPEC, first_request - 1, 3 do
    specs[#specs + 1] = {tonumber(ARGV[i]), tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])}
  end
  -- Answers one request, and says whether it is allowed.
  local function ask(spec)
    local after = ahead[spec[1]] + spec[2]
    if after > spec[3] then
      answers[#answers + 1] = string.format('%d', spec[3] - after)
      return false
    end
    answers[#answers + 1] = string.format('%d', math.floor((spec[3] - after) / spec[2]))
    return true
  end
  local function count(spec)
    if peek then return end
    ahead[spec[1]] = ahead[spec[1]] + spec[2]
    counted[spec[1]] = true
  end
  local i = first_request
  while i <= #ARGV do
    local which = tonumber(ARGV[i])
    local first, second = specs[math.abs(which)], nil
    local allowed = ask(first)
    if which < 0 then
      i = i + 1
      second = specs[tonumber(ARGV[i])]
      allowed = ask(second) and allowed
    end
    if allowed then
      count(first)
      if second then count(second) end
    end
    i = i + 1
  end
  for key in pairs(counted) do
    keep(KEYS[key + 2], ahead[key])
  end
  return table.concat(answers, ' ')
end

local function verdicts()
  if #KEYS == 2 then return '' end
  if peek then return ask_throttles() end
  local requests = table.concat(KEYS, ' ', 3) .. ' ' .. table.concat(ARGV, ' ', FIRST_SPEC)
  local fingerprint = ARGV[5] .. ' ' .. redis.sha1hex(requests) .. '\n'
  local remembered = redis.call('GET', KEYS[2])
  if remembered and string.sub(remembered, 1, #fingerprint) == fingerprint then
    return string.sub(remembered, #fingerprint + 1)
  end
  local answer = ask_throttles()
  redis.call('SET', KEYS[2], fingerprint .. answer, 'PX', ARGV[6])
  return answer
end

local head = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'hash')
local fold = false
local stands_at = (head[2] or '') .. ' ' .. (head[3] or '')
if head[1] and (head[1] ~= ARGV[1] or stands_at ~= ARGV[2]) then
  fold = redis.call('HGETALL', KEYS[1])
end
return {head[1], head[2], fold, verdicts()}
