-- Every step that changes or reads a replicated store, each atomic. Called as EVALSHA sha 0 OP RUN INCARNATION …
--
-- RUN is the identity of the server process (`run_id`) that the caller believes it talks to, INCARNATION the life
-- of the store that it knows. A store that was restarted, restored or wiped under a caller no longer matches, and the
-- caller gets {'stale'} instead of an answer: nothing is written on a wrong belief.
--
-- The visible value of KEY lies at KEY; all else lies at:
--   life     string INCARNATION,RUN,PHASE,OWN: phase adopting|joining|ready|wiping, own author number
--   seq      string own last number
--   mark     string MS,COUNTER: what the clock has reached
--   state    hash   g group, r region, l own authors, c:REGION cursor,
--                   b base: the change log begins after this position, z counts the lists of all keys,
--                   s where in the log to go on after that list, k HSCAN's cursor while it is not whole
--   meta     hash   KEY -> entry (src/blob.rs)
--   log      list   the KEY of each change, in their order; that of the first has position base + 1
--   all      list   every KEY, for whoever asks from before the log's base; there from the first one to when all have read on
--   dead     zset   KEY by the wall time of its delete here
--   vector   hash   author number -> covered number (the own current author's is at seq)
--   authors  hash   author number -> name, 'n:' name -> number, 'next'
--   members  hash   REGION -> what the engine keeps about it
--   origins  hash   what the store was filled from: REGION/FIRST LIFE -> LIFE=NUMBER,…
--   emptied  string there while a store that emptied itself has not been filled again
--   plain    string there when links in plain mode may have written since the store was replicated
--   forget   set    regions that an operator has given up: they are neither waited for nor listened to
--   leader   string which of a region's provider instances talks to the other regions, until it expires
--
-- What every write reads and changes are strings, as one command then does that to them and the value. Of what all members
-- have read nothing is left in the log.
local LIFE, SEQ, MARK = '@kv/r/life', '@kv/r/seq', '@kv/r/mark'
local STATE, META, LOG, ALL, DEAD = '@kv/r/state', '@kv/r/meta', '@kv/r/log', '@kv/r/all', '@kv/r/dead'
local VECTOR, AUTHORS, MEMBERS = '@kv/r/vector', '@kv/r/authors', '@kv/r/members'
local ORIGINS = '@kv/r/origins'
local LEADER, EMPTIED, PLAIN, FORGET = '@kv/r/leader', '@kv/r/emptied', '@kv/r/plain', '@kv/r/forget'
local MAX = '18446744073709551615'
local DAMAGED = 'DAMAGED the store lacks its numbers'

local call = redis.call
local op, run, incarnation = ARGV[1], ARGV[2], ARGV[3]

local function whole(n)
  return string.format('%d', n)
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

local function exceeds(digits)
  return #digits > 20 or (#digits == 20 and digits > MAX)
end

local function is_number(value)
  return (value == '0' or string.find(value, '^[1-9]%d*$') ~= nil) and not exceeds(value)
end

-- LEASE INSTANCE MILLISECONDS -> {'ok', '1' | '0'}
if op == 'lease' then
  local holder = call('GET', LEADER)
  if holder and holder ~= ARGV[4] then return {'ok', '0'} end
  -- Which a full store allows, and then the next: others may wait for what it has.
  call('UNLINK', LEADER)
  call('SET', LEADER, ARGV[4], 'PX', ARGV[5])
  return {'ok', '1'}
end

-- A store of the version before had these in the hash, and an index in place of the log. First what a full store allows.
if op == 'load' then
  local old = call('HMGET', STATE, 'i', 'u', 'f', 'a', 'm', 'n', 'q', 'p')
  if old[1] then
    for _, field in ipairs(old) do
      if not field then return redis.error_reply(DAMAGED) end
    end
    call('HDEL', STATE, 'i', 'u', 'f', 'a', 'm', 'n', 'q', 'p')
    call('UNLINK', '@kv/r/index')
    -- A provider of that version may have begun anew with a store that had been emptied, which this one had begun with.
    if call('EXISTS', LIFE) == 0 then
      call('MSET', LIFE, table.concat(old, ',', 1, 4), MARK, old[5] .. ',' .. old[6], SEQ, old[7])
      call('HSET', STATE, 'b', old[8])
    end
  end
end

-- With the visible value of an increment.
local held
if op == 'write' and ARGV[5] == 'i' then
  held = call('MGET', LIFE, SEQ, MARK, ARGV[6])
else
  held = call('MGET', LIFE, SEQ, MARK)
end
local life, believed = held[1] or ',,,', incarnation .. ',' .. run .. ','
local phase, own
if string.sub(life, 1, #believed) == believed then
  phase, own = string.match(life, '^(%a*),(%d*)$', #believed + 1)
else
  local known
  known, phase, own = string.match(life, '^([^,]*),[^,]*,(%a*),(%d*)$')
  if op ~= 'load' and (op ~= 'mint' or known ~= incarnation) then return {'stale'} end
end
if held[1] and not (held[2] and held[3]) then return redis.error_reply(DAMAGED) end
local seq = tonumber(held[2] or 0)
local mark, counter = string.match(held[3] or '0,0', '^(%d+),(%d+)$')
mark, counter = tonumber(mark), tonumber(counter)

local PATTERN = '^((%d+),(%d+),%d+,%d+)|([-=+])([^|]*)|(.*)$'
local EMPTY = '0,0,0,0|-|'
local MALFORMED = 'MALFORMED an entry has an unknown form'

local writes, first, adopted, refused = ARGV, 5, 0, false

-- ADOPT NOW KEY*: values that lay here before the group did become its oldest writes. Where plain links may have
-- written since, what differs from its entry becomes a write of now: what a counter grew by is added, anything else is
-- set or deleted. -> {'ok', written}
if op == 'adopt' then
  local plain, before = call('EXISTS', PLAIN) == 1, seq
  writes, first = {}, 1
  -- By which a value that somebody else changed is told from the entry's own.
  local function fingerprint(value)
    return string.sub(redis.sha1hex(value), 1, 8)
  end
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
      call('RPUSH', LOG, key)
    elseif plain and old and (value or kind == 'none') then
      local _, _, _, mode, base, shards = string.match(old, PATTERN)
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
  local now, replies, reached, saved = tonumber(ARGV[4]), {'ok'}, nil, nil
  for at = first, #writes, 4 do
    local kind, key, argument = writes[at], writes[at + 1], writes[at + 2]
    local old = call('HGET', META, key)
    local stamp, ms, n, mode, base, shards = string.match(old or EMPTY, PATTERN)
    local number, new, value, sum = whole(seq + 1), nil, nil, ''
    if not stamp then
      refused = MALFORMED
      break
    elseif kind == 'i' then
      -- Something else than a string is an error of GET's.
      local visible = (at == first and held[4]) or call('GET', key) or '0'
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
        new = stamp .. '|+' .. base .. '|' .. shards
        value = sum
      end
    elseif kind == 'd' and mode == '-' then
      -- Nothing was seen, so nothing is deleted.
      replies[#replies + 1] = {'same', '0', '', ''}
    else
      if now > mark then mark, counter = now, 0 else counter = counter + 1 end
      reached = string.format('%d,%d', mark, counter)
      -- Later than the clock, and than the entry's own stamp, which may come from a clock so far ahead that it was not
      -- allowed to move this one.
      local later, n_later = tonumber(ms), tonumber(n) + 1
      stamp = reached
      if later > mark or (later == mark and n_later > counter) then stamp = string.format('%d,%d', later, n_later) end
      -- All that was counted is seen, and replaced.
      if shards ~= '' then
        shards = string.gsub(shards, ':(%d+)[^@]*@', ':%1/%1!' .. own .. '.' .. number .. '@')
      end
      local shown = kind == 's' and '|=' .. writes[at + 3] .. '|' or '|-|'
      new = stamp .. ',' .. own .. ',' .. number .. shown .. shards
      if kind == 's' then
        value = argument
      else
        call('DEL', key)
        call('ZADD', DEAD, whole(now), key)
      end
    end
    if new then
      seq = seq + 1
      -- First what a full store refuses: after any other write it would let all pass.
      saved = value and at + 4 > #writes
      if saved and reached then
        call('MSET', key, value, SEQ, number, MARK, reached)
      elseif saved then
        call('MSET', key, value, SEQ, number)
      elseif value then
        call('SET', key, value)
      end
      if value and mode == '-' then call('ZREM', DEAD, key) end
      call('HSET', META, key, new)
      call('RPUSH', LOG, key)
      replies[#replies + 1] = {'ok', number, new, sum}
    end
  end
  -- Whatever comes next, what was written keeps its numbers: given twice, the second write would be taken for the first.
  if not saved then call('MSET', SEQ, whole(seq), MARK, whole(mark) .. ',' .. whole(counter)) end
  if refused == MALFORMED then return redis.error_reply(MALFORMED) end
  if refused then return refused end
  if op == 'adopt' then return {'ok', whole(#replies - 1 + adopted)} end
  return replies
end

local function raise_mark(ms, n)
  if ms > mark or (ms == mark and n > counter) then mark, counter = ms, n end
end

local function reached()
  return string.format('%d,%d', mark, counter)
end

local function live(incarnation, run, phase, own)
  -- Which a full store allows, and then the next: it may be that it is to be emptied.
  call('UNLINK', LIFE)
  call('SET', LIFE, incarnation .. ',' .. run .. ',' .. phase .. ',' .. own)
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
  local values, metadata, changed = {}, {}, {}
  local gone, forgotten, revived = {}, {}, {}
  for n = 0, entries - 1 do
    local at = first + n * 5
    local key, old, new = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    if ARGV[at + 3] == 's' then
      values[#values + 1], values[#values + 2] = key, ARGV[at + 4]
      if string.find(old, '|-|', 1, true) then revived[#revived + 1] = key end
    else
      gone[#gone + 1] = key
    end
    if new == '' then
      forgotten[#forgotten + 1] = key
    else
      metadata[#metadata + 1], metadata[#metadata + 2] = key, new
      changed[#changed + 1] = key
    end
  end
  -- First what a full store refuses. One that is only to delete may do that.
  if #values > 0 then call('MSET', unpack(values)) end
  if #gone > 0 then call('DEL', unpack(gone)) end
  call('SET', MARK, reached())
  for _, key in ipairs(gone) do call('ZADD', DEAD, ARGV[6], key) end
  if #forgotten > 0 then call('HDEL', META, unpack(forgotten)) end
  for _, key in ipairs(forgotten) do revived[#revived + 1] = key end
  if #revived > 0 then call('ZREM', DEAD, unpack(revived)) end
  if #metadata > 0 then call('HSET', META, unpack(metadata)) end
  if #changed > 0 then call('RPUSH', LOG, unpack(changed)) end
  local at = first + entries * 5
  if ARGV[at] ~= '' then call('HSET', STATE, 'c:' .. ARGV[at], ARGV[at + 1]) end
  for pair = at + 2, #ARGV, 2 do
    local covered = tonumber(call('HGET', VECTOR, ARGV[pair]) or 0)
    if ARGV[pair] ~= own and tonumber(ARGV[pair + 1]) > covered then
      call('HSET', VECTOR, ARGV[pair], ARGV[pair + 1])
    end
  end
  return {'ok'}
end

local function shows(entry)
  return string.find(entry, '|', 1, true) and not string.find(entry, '|-|', 1, true)
end

-- READ KEY* -> {'ok', (entry, visible)*}, in the keys' order; a missing entry is ''. A list in one piece takes half as long as
-- one of lists.
if op == 'read' then
  local replies = {'ok'}
  local metadata, values = call('HMGET', META, unpack(ARGV, 4)), call('MGET', unpack(ARGV, 4))
  for n = 1, #metadata do
    local entry = metadata[n] or ''
    replies[2 * n], replies[2 * n + 1] = entry, shows(entry) and values[n] or ''
  end
  return replies
end

-- NAMES CURSOR ROWS: which keys have an entry, in no order; some may come twice if there are writes meanwhile. Without a
-- cursor none. -> {'ok', head, own last number, own author, vector, how many there are, next cursor ('0' after the last),
-- (name, bytes of its value)*}
if op == 'names' then
  local found = ARGV[4] == '' and {'0', {}} or call('HSCAN', META, ARGV[4], 'COUNT', ARGV[5])
  local head = (call('HGET', STATE, 'b') or 0) + call('LLEN', LOG)
  local replies = {'ok', whole(head), whole(seq), own, call('HGETALL', VECTOR), whole(call('HLEN', META)), found[1]}
  for at = 1, #found[2], 2 do
    local name, entry = found[2][at], found[2][at + 1]
    local is_text = shows(entry) and call('TYPE', name).ok == 'string'
    replies[#replies + 1], replies[#replies + 2] = name, whole(is_text and call('STRLEN', name) or 0)
  end
  return replies
end

local base, head, zone, since, cursor
if op == 'page' or op == 'trim' then
  local log = call('HMGET', STATE, 'b', 'z', 's', 'k')
  base, since, cursor = tonumber(log[1] or 0), log[3] and tonumber(log[3]), log[4]
  head = base + call('LLEN', LOG)
  -- Positions in a list of all keys are such as the log never reaches, and others in each list.
  zone = 2 ^ 51 + tonumber(log[2] or 0) % 2 ^ 20 * 2 ^ 31
end

local function drop_all()
  call('UNLINK', ALL)
  call('HDEL', STATE, 's', 'k')
  since, cursor = false, false
end

-- PAGE AFTER ROWS BYTES (AUTHOR SEQ)*: the keys that changed after this position, each at its last change on the page, but for
-- those whose entry this vector covers; for whoever asks from before the log's base all keys, which are listed meanwhile, and
-- then those that changed since.
-- -> {'ok', head, upto, '1' at the end, own last number, own author, vector, (key, entry, visible)*}
if op == 'page' then
  local after, rows = tonumber(ARGV[4]), tonumber(ARGV[5])
  if after >= 2 ^ 51 then
    -- Of a list that is no more.
    if not since or after < zone or after > zone + call('LLEN', ALL) then after = 0 end
  else
    after = math.min(after, head)
  end
  if after < base then
    if not since then
      -- Not refused by a full store, and after it nothing is: others may wait for what it has.
      drop_all()
      zone = 2 ^ 51 + call('HINCRBY', STATE, 'z', 1) % 2 ^ 20 * 2 ^ 31
      since, cursor = head, '0'
      call('HSET', STATE, 's', whole(head), 'k', cursor)
    end
    after = zone
  end
  local list, from = LOG, base
  if after >= zone then list, from = ALL, zone end
  if list == ALL and cursor then
    call('HDEL', STATE, 'k')
    local found, names = call('HSCAN', META, cursor, 'COUNT', rows), {}
    cursor = found[1] ~= '0' and found[1]
    for at = 1, #found[2], 2 do
      names[#names + 1] = found[2][at]
      if #names == 1000 or at + 2 > #found[2] then
        call('RPUSH', ALL, unpack(names))
        names = {}
      end
    end
    if cursor then call('HSET', STATE, 'k', cursor) end
  end
  local found = call('LRANGE', list, whole(after - from), whole(after - from + rows - 1))
  local last, covered = {}, {}
  for at, key in ipairs(found) do last[key] = at end
  for at = 7, #ARGV, 2 do covered[ARGV[at]] = tonumber(ARGV[at + 1]) end
  local function covers(author, number)
    return tonumber(number) <= (covered[author] or 0)
  end
  -- As `Entry::is_covered_by`, whose twin it is: here, so that nothing else of such an entry is read.
  local function is_covered(entry)
    local author, number, shards = string.match(entry, '^%d+,%d+,(%d+),(%d+)|[-=+][^|]*|(.*)$')
    if not author or not covers(author, number) then return false end
    for author, replaced, number in string.gmatch(shards, '(%d+)%.%d+:%d+([^@]*)@(%d+)') do
      local by, gone = string.match(replaced, '!(%d+)%.(%d+)$')
      if not covers(author, number) or (by and not covers(by, gone)) then return false end
    end
    return true
  end
  local replies = {'ok', '', '', '', whole(seq), own, call('HGETALL', VECTOR)}
  local metadata = #found > 0 and call('HMGET', META, unpack(found))
  -- Some values at a time, by the largest so far: one command for each takes long, and all at once may be far more than is
  -- asked for.
  local at, upto, bytes, some, largest, most = 1, after, 0, 1, 1, tonumber(ARGV[6])
  while at <= #found and bytes < most do
    local keys, places = {}, {}
    while at <= #found and #keys < some do
      local entry = last[found[at]] == at and metadata[at]
      if entry and not is_covered(entry) then keys[#keys + 1], places[#places + 1] = found[at], at end
      at = at + 1
    end
    upto = after + at - 1
    local values = #keys > 0 and call('MGET', unpack(keys))
    for n, key in ipairs(keys) do
      local entry, size = metadata[places[n]], #replies
      local value = shows(entry) and values[n] or ''
      replies[size + 1], replies[size + 2], replies[size + 3] = key, entry, value
      bytes, largest = bytes + #key + #entry + #value, math.max(largest, #value)
      if bytes >= most then
        upto = after + places[n]
        break
      end
    end
    some = math.max(1, math.min(2 * some, 32, math.floor((most - bytes) / largest)))
  end
  -- What changed since the list was begun follows it.
  if list == ALL and not cursor and upto == zone + call('LLEN', ALL) then upto = since end
  replies[2], replies[3], replies[4] = whole(head), whole(upto), upto == head and '1' or '0'
  return replies
end

-- TRIM UPTO SPARE: drops from the log what lies there up to a position, and at the least all but one and a half changes of
-- each key, and SPARE; and the list of all keys when it is of no use any more. -> {'ok'}
if op == 'trim' then
  local kept = math.floor(1.5 * call('HLEN', META)) + tonumber(ARGV[5])
  local upto = math.max(math.min(tonumber(ARGV[4]), head), head - kept)
  if upto > base then
    call('LTRIM', LOG, whole(upto - base), '-1')
    call('HSET', STATE, 'b', whole(upto))
  end
  if since and upto >= since then drop_all() end
  return {'ok'}
end

-- LOAD -> {'ok', state, vector, authors, members, emptied, plain, forget, origins}
if op == 'load' then
  local state = call('HGETALL', STATE)
  if held[1] then
    local known, known_run = string.match(life, '^([^,]*),([^,]*),')
    for name, field in pairs({i = known, u = known_run, f = phase, q = whole(seq)}) do
      state[#state + 1], state[#state + 2] = name, field
    end
  end
  return {'ok', state, call('HGETALL', VECTOR), call('HGETALL', AUTHORS), call('HGETALL', MEMBERS),
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
  if own ~= '' then call('HSET', VECTOR, own, whole(seq)) end
  own, seq = number_of(ARGV[7]), 0
  raise_mark(tonumber(ARGV[8]), 0)
  -- In another process HSCAN goes through the hash in another order. And nobody goes on in the list of an earlier life.
  call('UNLINK', ALL)
  call('HDEL', STATE, 's', 'k')
  local lineage = call('HGET', STATE, 'l')
  lineage = lineage and lineage .. ',' .. ARGV[7] or ARGV[7]
  call('HSET', STATE, 'g', ARGV[4], 'r', ARGV[5], 'l', lineage)
  live(ARGV[6], run, ARGV[9], own)
  call('MSET', SEQ, whole(seq), MARK, reached())
  return {'ok'}
end

-- APPROVE PHASE: components may write, or may not any more. -> {'ok'}
if op == 'approve' then
  if phase == 'adopting' and ARGV[4] == 'joining' then call('DEL', PLAIN) end
  live(incarnation, run, ARGV[4], own)
  if ARGV[4] == 'ready' then call('DEL', EMPTIED) end
  return {'ok'}
end

-- DEAD BEFORE SKIP ROWS NOW -> {'ok', (key, entry, visible)*}
if op == 'dead' then
  local replies = {'ok'}
  -- What died by a clock that was ahead would be looked at as late as that; by the clock of now it dies now.
  for _, key in ipairs(call('ZRANGEBYSCORE', DEAD, '(' .. ARGV[7], '+inf', 'LIMIT', '0', ARGV[6])) do
    call('ZADD', DEAD, ARGV[7], key)
  end
  for _, key in ipairs(call('ZRANGEBYSCORE', DEAD, '-inf', ARGV[4], 'LIMIT', ARGV[5], ARGV[6])) do
    local entry, size = call('HGET', META, key) or '', #replies
    replies[size + 1], replies[size + 2], replies[size + 3] = key, entry, shows(entry) and call('MGET', key)[1] or ''
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
      call('ZREM', DEAD, ARGV[at])
      collected = collected + 1
    end
  end
  call('SET', MARK, reached())
  return {'ok', whole(collected)}
end

-- WIPE ROWS: forgets entries and their values, a part at a time; at last the state. -> {'ok', left}
if op == 'wipe' then
  live(incarnation, run, 'wiping', own)
  for _, key in ipairs(call('HRANDFIELD', META, ARGV[4])) do
    call('DEL', key)
    call('HDEL', META, key)
    call('ZREM', DEAD, key)
  end
  local left = call('HLEN', META)
  if left == 0 then
    call('DEL', LIFE, SEQ, MARK, STATE, META, LOG, ALL, DEAD, VECTOR, AUTHORS, MEMBERS, ORIGINS)
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
  call('SET', SEQ, whole(seq))
  return {'ok', whole(seq)}
end

return redis.error_reply('UNKNOWN no such step')
