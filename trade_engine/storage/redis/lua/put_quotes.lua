-- put_quotes(quote..., earlier..., channel, earlier_s, offered...) -> how many were taken
--
-- KEYS[i]   string  the last quote of a symbol: its time in 20 digits of ns, then its JSON; a
--                   symbol that is offered twice is there twice
-- KEYS[n+i] string  an earlier quote of the same symbol, in the same form
--
-- channel           where the taken ones are told, as one JSON list in the order offered
-- earlier_s         how many seconds an earlier quote stays: the first one that comes so long after
--                   it (by their own times) puts the last one in its place
-- offered[i]        a quote for KEYS[i], in the same form; n of them
--
-- One that is older than what is known is not taken; nor is the very one that is known already,
-- so that asking again tells nobody anything twice. The first quote of a symbol is its own earlier
-- one.

local TIME_DIGITS, SECOND_DIGITS = 20, 11
local FIRST_OFFERED = 3

local count = #KEYS / 2
local earlier_s = tonumber(ARGV[2])
local known = redis.call('MGET', unpack(KEYS))
local newest, earlier, taken = {}, {}, {}

local function seconds(quote)
  return tonumber(string.sub(quote, 1, SECOND_DIGITS))
end

for i = 1, count do
  local key, offered = KEYS[i], ARGV[i + FIRST_OFFERED - 1]
  local held = newest[key] or known[i]
  local older = held and string.sub(offered, 1, TIME_DIGITS) < string.sub(held, 1, TIME_DIGITS)
  if not older and offered ~= held then
    local earlier_key = KEYS[count + i]
    local before = earlier[earlier_key] or known[count + i]
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
