-- apply(state, epoch, expected, seq, hash, sets, field, value..., gone...) -> 1 or 0
--
-- KEYS[1]       hash  the account's fold
--
-- epoch         the record that the commit belongs to
-- expected      where the fold has to stand: its seq, a space, its hash
-- seq, hash     where it stands afterward
-- sets          how many arguments field, value... are
-- gone...       fields to remove
--
-- 1: the fold stands at seq, brought there now or by this same commit before.
-- 0: it stands elsewhere, and nothing was changed.

local CHUNK = 1000 -- unpack takes a few thousand values at most

local head = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'hash')
if head[1] ~= ARGV[1] then return 0 end
if head[2] == ARGV[3] then return head[3] == ARGV[4] and 1 or 0 end
if (head[2] or '') .. ' ' .. (head[3] or '') ~= ARGV[2] then return 0 end

local last_set = 5 + tonumber(ARGV[5])
for i = 6, last_set, CHUNK do
  redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + CHUNK - 1, last_set)))
end
for i = last_set + 1, #ARGV, CHUNK do
  redis.call('HDEL', KEYS[1], unpack(ARGV, i, math.min(i + CHUNK - 1, #ARGV)))
end
return 1
