-- put_quotes(quote..., channel, offered...) -> how many were taken
--
-- KEYS[i]   string  the last quote of a symbol: its time in 20 digits of ns, then its JSON; a
--                   symbol that is offered twice is there twice
--
-- channel           where the taken ones are told, as one JSON list in the order offered
-- offered[i]        a quote for KEYS[i], in the same form
--
-- One that is older than what is known is not taken; nor is the very one that is known already,
-- so that asking again tells nobody anything twice.

local TIME_DIGITS = 20

local known = redis.call('MGET', unpack(KEYS))
local newest, taken = {}, {}
for i, key in ipairs(KEYS) do
  local held, offered = newest[key] or known[i], ARGV[i + 1]
  local older = held and string.sub(offered, 1, TIME_DIGITS) < string.sub(held, 1, TIME_DIGITS)
  if not older and offered ~= held then
    newest[key] = offered
    taken[#taken + 1] = string.sub(offered, TIME_DIGITS + 1)
  end
end
if #taken == 0 then return 0 end

local pairs_to_set = {}
for key, value in pairs(newest) do
  pairs_to_set[#pairs_to_set + 1] = key
  pairs_to_set[#pairs_to_set + 1] = value
end
redis.call('MSET', unpack(pairs_to_set))
redis.call('PUBLISH', ARGV[1], '[' .. table.concat(taken, ',') .. ']')
return #taken
