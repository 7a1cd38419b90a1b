-- Every step that changes or reads a replicated store, each atomic. Called as EVALSHA sha 0 OP RUN INCARNATION …
--
-- RUN is the identity of the server process (`run_id`) that the caller believes it talks to, INCARNATION the life
-- of the store that it knows. A store that was restarted, restored or wiped under a caller no longer matches, and the
-- caller gets {'stale'} instead of an answer: nothing is written on a wrong belief.
--
-- The visible value of KEY lies at KEY; all else lies at:
--   state    hash   g group, r region, i incarnation, u run, f phase (adopting|joining|ready|wiping), a own author number, l own authors,
--                   q own last number, p index head, m and n clock mark (milliseconds, counter), c:REGION cursor
--   meta     hash   KEY -> entry (src/blob.rs)
--   index    zset   KEY by the position of its last change here
--   dead     zset   KEY by the wall time of its delete here
--   vector   hash   author number -> covered number (the own current author is at state.q)
--   authors  hash   author number -> name, 'n:' name -> number, 'next'
--   members  hash   REGION -> what the engine keeps about it
--   origins  hash   what the store was filled from: REGION/FIRST LIFE -> LIFE=NUMBER,…
--   emptied  string there while a store that emptied itself has not been filled again
--   plain    string there when links in plain mode may have written since the store was replicated
--   forget   set    regions that an operator has given up: they are neither waited for nor listened to
--   leader   string which of a region's provider instances talks to the other regions, until it expires
local STATE, META, INDEX, DEAD = '@kv/r/state', '@kv/r/meta', '@kv/r/index', '@kv/r/dead'
local VECTOR, AUTHORS, MEMBERS = '@kv/r/vector', '@kv/r/authors', '@kv/r/members'
local ORIGINS = '@kv/r/origins'
local LEADER, EMPTIED, PLAIN, FORGET = '@kv/r/leader', '@kv/r/emptied', '@kv/r/plain', '@kv/r/forget'
local MAX = '18446744073709551615'

local call = redis.call
local op, run, incarnation = ARGV[1], ARGV[2], ARGV[3]

local function whole(n)
  return string.format('%.0f', n)
end

-- Steps are no functions: the server runs all of this for each step, and to make a function of each first takes longer
-- than most of them.

-- Numbers are exact up to 2^53 only, so counts are digits, added in limbs of 13.
local function digits(text)
  text = string.gsub(text, '^0+', '')
  return text == '' and '0' or text
end

local function add(a, b)
  if #a < 16 and #b < 16 then return whole((tonumber(a) or 0) + (tonumber(b) or 0)) end
  local sum, carry = '', 0
  while #a > 0 or #b > 0 do
    local s = (tonumber(string.sub(a, -13)) or 0) + (tonumber(string.sub(b, -13)) or 0) + carry
    a, b = string.sub(a, 1, -14), string.sub(b, 1, -14)
    carry = s >= 1e13 and 1 or 0
    sum = string.format('%013.0f', s - carry * 1e13) .. sum
  end
  if carry > 0 then sum = '1' .. sum end
  return digits(sum)
end

-- By which a value that somebody else changed is told from the entry's own.
local function fingerprint(value)
  return string.sub(redis.sha1hex(value), 1, 8)
end

local function exceeds(digits)
  return #digits > 20 or (#digits == 20 and digits > MAX)
end

local function is_number(value)
  return (value == '0' or string.find(value, '^[1-9]%d*$') ~= nil) and not exceeds(value)
end

local state = call('HMGET', STATE, 'i', 'u', 'f', 'a', 'q', 'p', 'm', 'n')
local known, known_run, phase, own = state[1] or '', state[2] or '', state[3], state[4]
local seq, head = tonumber(state[5] or 0), tonumber(state[6] or 0)
local mark, counter = tonumber(state[7] or 0), tonumber(state[8] or 0)

local anyone = op == 'load' or op == 'lease'
if not anyone and known ~= incarnation then return {'stale'} end
if not anyone and op ~= 'mint' and known_run ~= run then return {'stale'} end

local PATTERN = '^(%d+),(%d+),(%d+),(%d+)|([-=+])([^|]*)|(.*)$'
local EMPTY = '0,0,0,0|-|'
local MALFORMED = 'MALFORMED an entry has an unknown form'

local writes, first, adopted, refused = ARGV, 5, 0, false

-- ADOPT NOW KEY*: values that lay here before the group did become its oldest writes. Where plain links may have
-- written since, what differs from its entry becomes a write of now: what a counter grew by is added, anything else is
-- set or deleted. -> {'ok', written}
if op == 'adopt' then
  local plain, before = call('EXISTS', PLAIN) == 1, seq
  writes, first = {}, 1
  local function write(kind, key, argument, print)
    local n = #writes
    writes[n + 1], writes[n + 2], writes[n + 3], writes[n + 4] = kind, key, argument, print
  end
  local function reaches(a, b)
    return #a > #b or (#a == #b and a >= b)
  end
  local function subtract(a, b)
    local rest, borrow = '', 0
    while #a > 0 do
      local s = tonumber(string.sub(a, -13)) - (tonumber(string.sub(b, -13)) or 0) - borrow
      a, b = string.sub(a, 1, -14), string.sub(b, 1, -14)
      borrow = s < 0 and 1 or 0
      rest = string.format('%013.0f', s + borrow * 1e13) .. rest
    end
    return digits(rest)
  end
  local function sum_of(base, shards)
    local sum = base == '' and '0' or base
    for count, replaced in string.gmatch(shards, ':(%d+)([^@]*)@') do
      local gone = string.match(replaced, '^/(%d+)') or '0'
      if reaches(count, gone) then sum = add(sum, subtract(count, gone)) end
    end
    return exceeds(sum) and MAX or sum
  end
  for at = 5, #ARGV do
    local key = ARGV[at]
    local old, kind = call('HGET', META, key), call('TYPE', key).ok
    local value = kind == 'string' and (plain or not old) and call('GET', key)
    -- What expired here alone would be another value in every region.
    if value then call('PERSIST', key) end
    if value and not old and plain then
      write('s', key, value, fingerprint(value))
    elseif value and not old then
      seq = seq + 1
      call('HSET', META, key, '1,0,' .. own .. ',' .. whole(seq) .. '|=' .. fingerprint(value) .. '|')
      head = head + 1
      call('ZADD', INDEX, whole(head), key)
    elseif plain and old and (value or kind == 'none') then
      local _, _, _, _, mode, base, shards = string.match(old, PATTERN)
      if not mode then
        -- What came before it is adopted: its sums are in place.
        refused = MALFORMED
        break
      end
      local sum = mode == '+' and sum_of(base, shards)
      if sum and value and is_number(value) and reaches(value, sum) then
        if value ~= sum then
          call('SET', key, sum)
          write('i', key, subtract(value, sum), '')
        end
      elseif value then
        local print = fingerprint(value)
        if mode ~= '=' or base ~= print then write('s', key, value, print) end
      elseif mode ~= '-' then
        write('d', key, '', '')
      end
    end
  end
  -- Those above have their numbers.
  adopted = seq - before
end

-- WRITE NOW (KIND KEY ARGUMENT FINGERPRINT)*: KIND is s, d or i, FINGERPRINT that of what is set.
-- -> {'ok', {status, number, entry, visible}*}
if op == 'write' or op == 'adopt' then
  if op == 'write' and phase ~= 'ready' then return {'joining'} end
  local now, replies, ticked = tonumber(ARGV[4]), {'ok'}, false
  for at = first, #writes, 4 do
    local kind, key, argument = writes[at], writes[at + 1], writes[at + 2]
    local old = call('HGET', META, key)
    local ms, n, a, q, mode, base, shards = string.match(old or EMPTY, PATTERN)
    local number, new, sum = whole(seq + 1), nil, ''
    if not ms then
      refused = MALFORMED
      break
    elseif kind == 'i' then
      local visible = call('GET', key) or '0'
      if mode ~= '+' and not is_number(visible) then
        refused = {'notanumber'}
        break
      end
      sum = add(visible, argument)
      if exceeds(sum) then
        refused = {'overflow'}
        break
      end
      if argument == '0' and mode ~= '-' then
        replies[#replies + 1] = {'same', '0', old, visible}
      else
        -- The last of the own shards is the one that counts.
        local mine = '^(.*;' .. own .. '%.%d+:)(%d+)([^@]*)@%d+(.*)$'
        local before, count, replaced, after = string.match(';' .. shards, mine)
        -- An increment by nothing must show, and so starts a shard that nothing replaced.
        if before and argument ~= '0' then
          shards = string.sub(before .. add(count, argument) .. replaced .. '@' .. number .. after, 2)
        else
          local shard = own .. '.' .. number .. ':' .. argument .. '@' .. number
          shards = shards == '' and shard or shards .. ';' .. shard
        end
        if mode == '=' then base = visible end
        new = ms .. ',' .. n .. ',' .. a .. ',' .. q .. '|+' .. base .. '|' .. shards
        call('SET', key, sum)
      end
    elseif kind == 'd' and mode == '-' then
      -- Nothing was seen, so nothing is deleted.
      replies[#replies + 1] = {'same', '0', '', ''}
    else
      if now > mark then mark, counter = now, 0 else counter = counter + 1 end
      ticked = true
      -- Later than the clock, and than the entry's own stamp, which may come from a clock so far ahead that it was not
      -- allowed to move this one.
      local later, n_later = tonumber(ms), tonumber(n) + 1
      if later < mark or (later == mark and n_later <= counter) then later, n_later = mark, counter end
      -- All that was counted is seen, and replaced.
      if shards ~= '' then
        shards = string.gsub(shards, ':(%d+)[^@]*@', ':%1/%1!' .. own .. '.' .. number .. '@')
      end
      local shown = kind == 's' and '|=' .. writes[at + 3] .. '|' or '|-|'
      new = whole(later) .. ',' .. whole(n_later) .. ',' .. own .. ',' .. number .. shown .. shards
      if kind == 's' then
        call('SET', key, argument)
      else
        call('DEL', key)
        call('ZADD', DEAD, whole(now), key)
      end
    end
    if new then
      seq, head = seq + 1, head + 1
      if mode == '-' and kind ~= 'd' then call('ZREM', DEAD, key) end
      call('HSET', META, key, new)
      call('ZADD', INDEX, whole(head), key)
      replies[#replies + 1] = {'ok', number, new, sum}
    end
  end
  -- Whatever comes next, what was written keeps its numbers: given twice, the second write would be taken for the first.
  if ticked then
    call('HSET', STATE, 'q', whole(seq), 'p', whole(head), 'm', whole(mark), 'n', whole(counter))
  else
    call('HSET', STATE, 'q', whole(seq), 'p', whole(head))
  end
  if refused == MALFORMED then return redis.error_reply(MALFORMED) end
  if refused then return refused end
  if op == 'adopt' then return {'ok', whole(#replies - 1 + adopted)} end
  return replies
end

local function raise_mark(ms, n)
  if ms > mark or (ms == mark and n > counter) then mark, counter = ms, n end
end

local function save()
  call('HSET', STATE, 'q', whole(seq), 'p', whole(head), 'm', whole(mark), 'n', whole(counter))
end

-- COMMIT MARK COUNTER NOW ENTRIES (KEY EXPECTED NEW KIND VALUE)* (PEER CURSOR | '' '') (AUTHOR SEQ)*
-- KIND: s the value is set, d nothing is visible. NEW '' forgets the entry. All or nothing. -> {'ok'} or {'conflict', n}
if op == 'commit' then
  local first, entries = 8, tonumber(ARGV[7])
  local keys = {}
  for n = 1, entries do keys[n] = ARGV[first + (n - 1) * 5] end
  local found = entries > 0 and call('HMGET', META, unpack(keys))
  for n = 0, entries - 1 do
    if (found[n + 1] or '') ~= ARGV[first + n * 5 + 1] then return {'conflict', whole(n)} end
  end
  raise_mark(tonumber(ARGV[4]), tonumber(ARGV[5]))
  -- One command for all entries takes half as long as one for each.
  local values, metadata, places = {}, {}, {}
  for n = 0, entries - 1 do
    local at = first + n * 5
    local key, old, new = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    if ARGV[at + 3] == 's' then
      values[#values + 1], values[#values + 2] = key, ARGV[at + 4]
      if string.find(old, '|-|', 1, true) then call('ZREM', DEAD, key) end
    else
      call('DEL', key)
      if new ~= '' then call('ZADD', DEAD, ARGV[6], key) end
    end
    if new == '' then
      call('HDEL', META, key)
      call('ZREM', INDEX, key)
      call('ZREM', DEAD, key)
    else
      head = head + 1
      metadata[#metadata + 1], metadata[#metadata + 2] = key, new
      places[#places + 1], places[#places + 2] = whole(head), key
    end
  end
  if #values > 0 then call('MSET', unpack(values)) end
  if #metadata > 0 then call('HSET', META, unpack(metadata)) end
  if #places > 0 then call('ZADD', INDEX, unpack(places)) end
  local at = first + entries * 5
  if ARGV[at] ~= '' then call('HSET', STATE, 'c:' .. ARGV[at], ARGV[at + 1]) end
  for pair = at + 2, #ARGV, 2 do
    local covered = tonumber(call('HGET', VECTOR, ARGV[pair]) or 0)
    if ARGV[pair] ~= own and tonumber(ARGV[pair + 1]) > covered then
      call('HSET', VECTOR, ARGV[pair], ARGV[pair + 1])
    end
  end
  save()
  return {'ok'}
end

local function shows(entry)
  return string.find(entry, '|', 1, true) and not string.find(entry, '|-|', 1, true)
end

local function row(key, entry)
  return {key, entry, shows(entry) and call('GET', key) or ''}
end

-- READ KEY* -> {'ok', {key, entry, visible}*}; a missing entry is ''
if op == 'read' then
  local replies, keys = {'ok'}, {unpack(ARGV, 4)}
  local metadata, values = call('HMGET', META, unpack(keys)), call('MGET', unpack(keys))
  for n, key in ipairs(keys) do
    local entry = metadata[n] or ''
    replies[#replies + 1] = {key, entry, shows(entry) and values[n] or ''}
  end
  return replies
end

-- PAGE AFTER ROWS BYTES -> {'ok', head, upto, own last number, own author, vector, {key, entry, visible}*}
if op == 'page' then
  local found = call('ZRANGEBYSCORE', INDEX, '(' .. ARGV[4], '+inf', 'WITHSCORES', 'LIMIT', '0', ARGV[5])
  local replies, bytes, upto = {'ok', whole(head), whole(head), whole(seq), own, call('HGETALL', VECTOR)}, 0, ARGV[4]
  for at = 1, #found, 2 do
    local one = row(found[at], call('HGET', META, found[at]) or '')
    bytes = bytes + #one[1] + #one[2] + #one[3]
    upto = found[at + 1]
    replies[#replies + 1] = one
    if bytes >= tonumber(ARGV[6]) then
      replies[3] = upto
      return replies
    end
  end
  -- A full page may have successors; a short one is the end.
  if #found / 2 >= tonumber(ARGV[5]) then replies[3] = upto end
  return replies
end

-- LOAD -> {'ok', state, vector, authors, members, emptied, plain, forget, origins}
if op == 'load' then
  return {'ok', call('HGETALL', STATE), call('HGETALL', VECTOR), call('HGETALL', AUTHORS), call('HGETALL', MEMBERS),
    call('GET', EMPTIED) or '', call('GET', PLAIN) or '', call('SMEMBERS', FORGET), call('HGETALL', ORIGINS)}
end

local function number_of(name)
  local number = call('HGET', AUTHORS, 'n:' .. name)
  if not number then
    number = whole(call('HINCRBY', AUTHORS, 'next', 1))
    call('HSET', AUTHORS, number, name, 'n:' .. name, number)
  end
  return number
end

-- AUTHORS NAME* -> {'ok', number*}
if op == 'authors' then
  local replies = {'ok'}
  for at = 4, #ARGV do replies[#replies + 1] = number_of(ARGV[at]) end
  return replies
end

-- MINT GROUP REGION NEW AUTHOR NOW PHASE: a new incarnation; what the old one wrote stays covered. -> {'ok'}
if op == 'mint' then
  if own then call('HSET', VECTOR, own, whole(seq)) end
  own, seq = number_of(ARGV[7]), 0
  raise_mark(tonumber(ARGV[8]), 0)
  local lineage = call('HGET', STATE, 'l')
  lineage = lineage and lineage .. ',' .. ARGV[7] or ARGV[7]
  call('HSET', STATE, 'g', ARGV[4], 'r', ARGV[5], 'i', ARGV[6], 'u', run, 'f', ARGV[9], 'a', own, 'l', lineage)
  save()
  return {'ok'}
end

-- APPROVE PHASE: components may write, or may not any more. -> {'ok'}
if op == 'approve' then
  if phase == 'adopting' and ARGV[4] == 'joining' then call('DEL', PLAIN) end
  call('HSET', STATE, 'f', ARGV[4])
  if ARGV[4] == 'ready' then call('DEL', EMPTIED) end
  return {'ok'}
end

-- DEAD BEFORE SKIP ROWS NOW -> {'ok', {key, entry, ''}*}
if op == 'dead' then
  local replies = {'ok'}
  -- What died by a clock that was ahead would be looked at as late as that; by the clock of now it dies now.
  for _, key in ipairs(call('ZRANGEBYSCORE', DEAD, '(' .. ARGV[7], '+inf', 'LIMIT', '0', ARGV[6])) do
    call('ZADD', DEAD, ARGV[7], key)
  end
  for _, key in ipairs(call('ZRANGEBYSCORE', DEAD, '-inf', ARGV[4], 'LIMIT', ARGV[5], ARGV[6])) do
    replies[#replies + 1] = row(key, call('HGET', META, key) or '')
  end
  return replies
end

-- COLLECT MARK COUNTER (KEY ENTRY)*: forgets tombstones that are still the same. -> {'ok', collected}
if op == 'collect' then
  local collected = 0
  raise_mark(tonumber(ARGV[4]), tonumber(ARGV[5]))
  for at = 6, #ARGV, 2 do
    if call('HGET', META, ARGV[at]) == ARGV[at + 1] then
      call('HDEL', META, ARGV[at])
      call('ZREM', INDEX, ARGV[at])
      call('ZREM', DEAD, ARGV[at])
      collected = collected + 1
    end
  end
  save()
  return {'ok', whole(collected)}
end

-- WIPE ROWS: forgets entries and their values, a part at a time; at last the state. -> {'ok', left}
if op == 'wipe' then
  call('HSET', STATE, 'f', 'wiping')
  for _, key in ipairs(call('ZRANGEBYSCORE', INDEX, '-inf', '+inf', 'LIMIT', '0', ARGV[4])) do
    call('DEL', key)
    call('HDEL', META, key)
    call('ZREM', INDEX, key)
    call('ZREM', DEAD, key)
  end
  local left = call('ZCARD', INDEX)
  if left == 0 then
    call('DEL', STATE, META, INDEX, DEAD, VECTOR, AUTHORS, MEMBERS, ORIGINS)
    call('SET', EMPTIED, '1')
  end
  return {'ok', whole(left)}
end

-- MEMBERS (REGION TEXT)* -> {'ok'}
-- ORIGINS (STORE LIVES)*, without lives to drop it -> {'ok'}
if op == 'members' or op == 'origins' then
  local kept = op == 'members' and MEMBERS or ORIGINS
  for at = 4, #ARGV, 2 do
    if ARGV[at + 1] == '' then call('HDEL', kept, ARGV[at]) else call('HSET', kept, ARGV[at], ARGV[at + 1]) end
  end
  return {'ok'}
end

-- BEAT: takes a number for no write, so that a copy of the disk from before lacks one. -> {'ok', number} or {'joining'}
if op == 'beat' then
  if phase ~= 'ready' then return {'joining'} end
  seq = seq + 1
  save()
  return {'ok', whole(seq)}
end

-- LEASE INSTANCE MILLISECONDS -> {'ok', '1' | '0'}
if op == 'lease' then
  local holder = call('GET', LEADER)
  if holder and holder ~= ARGV[4] then return {'ok', '0'} end
  call('SET', LEADER, ARGV[4], 'PX', ARGV[5])
  return {'ok', '1'}
end

return redis.error_reply('UNKNOWN no such step')
