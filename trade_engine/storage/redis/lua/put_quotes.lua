-- put_quotes(quote..., earlier..., channel, earlier_s, latest, offered...) -> how many were taken
--
-- KEYS[i]   string  the last quote of a symbol: its time in 20 digits of ns, then its JSON; a
--                   symbol that is offered twice is there twice
-- KEYS[n+i] string  an earlier quote of the same symbol, in the same form
--
-- channel           where the taken ones are told, as one JSON list in the order offered
-- earlier_s         how many seconds an earlier quote stays: the first one that comes so long after
--                   it (by their own times) puts the last one in its place
-- latest            the latest time, in 20 digits of ns, that is believed now: a quote of after it that
--                   is known (some clock was ahead when it came) gives way to any other
-- offered[i]        a quote for KEYS[i], in the same form; n of them
--
-- One that is older than what is known is not taken; nor is the very one that is known already,
-- so that asking again tells nobody anything twice. The first quote of a symbol is its own earlier
-- one.

local TIME_DIGITS, SECOND_DIGITS = 20, 11
local FIRST_OFFERED = 4

local count = #KEYS / 2
local earlier_s, latest = tonumber(ARGV[2]), ARGV[3]
local known = redis.call('MGET', unpack(KEYS))
local newest, earlier, taken = {}, {}, {}

local function time(quote)
  return string.sub(quote, 1, TIME_DIGITS)
end

local function believed(quote)
  return quote and time(quote) <= latest and quote
end

local function seconds(quote)
  return tonumber(string.sub(quote, 1, SECOND_DIGITS))
end

for i = 1, count do
  local key, offered = KEYS[i], ARGV[i + FIRST_OFFERED - 1]
  local held = newest[key] or believed(known[i])
  local older = held and time(offered) < time(held)
  if not older and offered ~= held then
    local earlier_key = KEYS[count + i]
    local before = earlier[earlier_key] or believed(known[count + i])
    if not before then
      earlier[earlier_key] = held or offered
    elseif held and seconds(offered) - seconds(before) >= earlier_s then
      earlier[earlier_key] = held
    end
    newest[key] = offered
    taken[#taken + 1] = string.sub(offered, TIME_DIGITS + 1)
  end
end
if #taken == 0 then return 0 end

local pairs_to_set = {}
for _, values in ipairs({newest, earlier}) do
  for key, value in pairs(values) do
    pairs_to_set[#pairs_to_set + 1] = key
    pairs_to_set[#pairs_to_set + 1] = value
  end
end
redis.call('MSET', unpack(pairs_to_set))
redis.call('PUBLISH', ARGV[1], '[' .. table.concat(taken, ',') .. ']')
return #taken
