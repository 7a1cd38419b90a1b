-- Adds ARGV[1] to the counter at KEYS[1], exactly, for all of u64.
--
-- Lua's numbers are doubles (exact up to 2^53) and INCRBY's are i64 and may be negative, so neither
-- alone is enough. Up to 15 digits a sum is below 2^53 and INCRBY does it; past that, two limbs of
-- ten digits are added. It costs 5 µs more than INCRBY (README.md), and one round trip as well.
local MAX = '18446744073709551615'

local function exceeds(digits)
  return #digits > 20 or (#digits == 20 and digits > MAX)
end

local old, delta = redis.call('GET', KEYS[1]) or '0', ARGV[1]

if (old ~= '0' and not string.find(old, '^[1-9]%d*$')) or exceeds(old) then
  return redis.error_reply('NOTANUMBER the value is not a counter')
end

if #old <= 15 and #delta <= 15 then
  return redis.call('INCRBY', KEYS[1], delta)
end

local function limbs(digits)
  if #digits <= 10 then
    return 0, tonumber(digits)
  end
  return tonumber(string.sub(digits, 1, -11)), tonumber(string.sub(digits, -10))
end

local high, low = limbs(old)
local delta_high, delta_low = limbs(delta)
high, low = high + delta_high, low + delta_low
if low >= 1e10 then
  high, low = high + 1, low - 1e10
end

local sum = string.format('%.0f', low)
if high > 0 then
  sum = string.format('%.0f%010.0f', high, low)
end
if exceeds(sum) then
  return redis.error_reply('OVERFLOW the counter would exceed u64')
end
-- INCRBY keeps a key's expiry, so this does too.
redis.call('SET', KEYS[1], sum, 'KEEPTTL')
return sum
