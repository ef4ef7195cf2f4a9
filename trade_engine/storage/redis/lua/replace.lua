-- replace(state, epoch, seq, field, value...) -> 1 or 0
--
-- KEYS[1]           hash  the account's fold
--
-- epoch, seq        what the new fold stands for
-- field, value...   all of it
--
-- 1: it was laid anew. 0: one of the same epoch and a later sequence is there, and stays.

local CHUNK = 1000 -- unpack takes a few thousand values at most

local head = redis.call('HMGET', KEYS[1], 'epoch', 'seq')
local there = head[1] == ARGV[1] and tonumber(head[2])
if there and there > tonumber(ARGV[2]) then return 0 end

redis.call('DEL', KEYS[1])
for i = 3, #ARGV, CHUNK do
  redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + CHUNK - 1, #ARGV)))
end
return 1
