-- put_quotes(quote..., samples..., channel, sample_s, samples, latest, offered...) -> how many were taken
--
-- KEYS[i]   string  the last quote of a symbol: its time in 20 digits of ns, then its JSON; a
--                   symbol that is offered twice is there twice
-- KEYS[n+i] string  earlier quotes of the same symbol, in the same form, a line each, the newest last
--
-- channel           where the taken ones are told, as one JSON list in the order offered
-- sample_s, samples so many earlier quotes are kept, each so many seconds (by their own times) or more
--                   after the one before it; it is the last one before the quote that is offered
-- latest            the latest time, in 20 digits of ns, that is believed now: a quote of after it that
--                   is known (some clock was ahead when it came) gives way to any other, and no sample
--                   of after it is kept
-- offered[i]        a quote for KEYS[i], in the same form; n of them
--
-- One that is older than what is known is not taken; nor is the very one that is known already,
-- so that asking again tells nobody anything twice. The first quote of a symbol is its own earlier
-- one. What is in no such form is as good as unknown.

local TIME_DIGITS, SECOND_DIGITS = 20, 11
local FIRST_OFFERED = 5

local count = #KEYS / 2
local sample_s, samples, latest = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local known = redis.call('MGET', unpack(KEYS))
local newest, earlier, changed, taken = {}, {}, {}, {}

local function time(quote)
  return string.sub(quote, 1, TIME_DIGITS)
end

local function believed(quote)
  return quote and string.find(quote, '^%d+{') and time(quote) <= latest and quote
end

-- When the next sample is due, as a text: a double does not hold so many digits.
local function due(sampled)
  local seconds = tonumber(string.sub(sampled, 1, SECOND_DIGITS)) + sample_s
  return string.format('%0' .. SECOND_DIGITS .. 'd', seconds)
    .. string.sub(sampled, SECOND_DIGITS + 1, TIME_DIGITS)
end

-- The lines that are believed, and whether any is not. They are found plainly: '[^\n]+$', tried at
-- every character, made the script twenty times as slow, and nobody else is served meanwhile.
local function sampled_in(lines)
  local found, some_dropped, from = {}, false, 1
  while from <= #lines do
    local stop = string.find(lines, '\n', from, true) or #lines + 1
    local line = believed(string.sub(lines, from, stop - 1))
    if line then found[#found + 1] = line else some_dropped = true end
    from = stop + 1
  end
  return found, some_dropped
end

for i = 1, count do
  local key, offered = KEYS[i], ARGV[i + FIRST_OFFERED - 1]
  local held = newest[key] or believed(known[i])
  local older = held and time(offered) < time(held)
  if not older and offered ~= held then
    local earlier_key = KEYS[count + i]
    local kept = earlier[earlier_key]
    if not kept then
      kept, changed[earlier_key] = sampled_in(known[count + i] or '')
      earlier[earlier_key] = kept
    end
    local sampled = kept[#kept]
    local sample = not sampled and (held or offered)
    if sampled and held and time(held) >= due(sampled) then sample = held end
    if sample then
      kept[#kept + 1] = sample
      while #kept > samples do table.remove(kept, 1) end
      changed[earlier_key] = true
    end
    newest[key] = offered
    taken[#taken + 1] = string.sub(offered, TIME_DIGITS + 1)
  end
end
if #taken == 0 then return 0 end

local pairs_to_set = {}
for key, quote in pairs(newest) do
  pairs_to_set[#pairs_to_set + 1] = key
  pairs_to_set[#pairs_to_set + 1] = quote
end
for key, is_changed in pairs(changed) do
  if is_changed then
    pairs_to_set[#pairs_to_set + 1] = key
    pairs_to_set[#pairs_to_set + 1] = table.concat(earlier[key], '\n')
  end
end
redis.call('MSET', unpack(pairs_to_set))
redis.call('PUBLISH', ARGV[1], '[' .. table.concat(taken, ',') .. ']')
return #taken
