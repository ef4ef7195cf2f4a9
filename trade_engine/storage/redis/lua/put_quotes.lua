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
--                   is known (some clock was ahead when it came) gives way to any other
-- offered[i]        a quote for KEYS[i], in the same form; n of them
--
-- One that is older than what is known is not taken; nor is the very one that is known already,
-- so that asking again tells nobody anything twice. The first quote of a symbol is its own earlier
-- one.

local TIME_DIGITS, SECOND_DIGITS = 20, 11
local FIRST_OFFERED = 5

local count = #KEYS / 2
local sample_s, samples, latest = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
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

local function newest_of(lines)
  return lines and string.match(lines, '[^\n]+$')
end

local function with(lines, quote)
  local _, breaks = string.gsub(lines, '\n', '')
  if breaks + 1 >= samples then lines = string.match(lines, '\n(.*)$') or '' end
  return lines == '' and quote or lines .. '\n' .. quote
end

for i = 1, count do
  local key, offered = KEYS[i], ARGV[i + FIRST_OFFERED - 1]
  local held = newest[key] or believed(known[i])
  local older = held and time(offered) < time(held)
  if not older and offered ~= held then
    local earlier_key = KEYS[count + i]
    local before = earlier[earlier_key] or known[count + i]
    local sampled = believed(newest_of(before))
    if not sampled then
      earlier[earlier_key] = held or offered
    elseif held and seconds(held) - seconds(sampled) >= sample_s then
      earlier[earlier_key] = with(before, held)
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
