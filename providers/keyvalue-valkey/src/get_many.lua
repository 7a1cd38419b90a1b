-- The values of KEYS in their order, if they have no more than ARGV[1] bytes together; false (nil on the wire)
-- for a key that is missing or holds no string, as MGET has it.
--
-- It reads a few at a time and stops at the first too many, so that an answer that is refused is not held
-- here either. To ask for every size first would cost three times as much (README.md).
local FEW = 16

local most = tonumber(ARGV[1])
local values, bytes = {}, 0
for first = 1, #KEYS, FEW do
  local last = math.min(first + FEW - 1, #KEYS)
  local part = redis.call('MGET', unpack(KEYS, first, last))
  for i = 1, #part do
    local value = part[i]
    if value then
      bytes = bytes + #value
    end
    values[first + i - 1] = value
  end
  if bytes > most then
    -- How much it would have been, for whoever has to choose a bound.
    values, part = nil, nil
    for i = last + 1, #KEYS do
      local length = redis.pcall('STRLEN', KEYS[i])
      if type(length) == 'number' then
        bytes = bytes + length
      end
    end
    return redis.error_reply(string.format('TOOLARGE %.0f', bytes))
  end
end
return values
