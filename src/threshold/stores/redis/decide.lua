-- decide.lua: the twin of threshold/engine.py on a Redis or Valkey server. One call decides any number of plans.
--
-- KEYS     for each plan: the keys of its takes, then the key of its abuse record, if it has one.
-- ARGV[1]  doubles, packed (see wire.py): now (negative: the server's clock), number of plans, then for each
--          plan (place of its shape in bytes, cost, mode, outside episode), then the shapes. The mode is odd
--          for a peek; 2 more when a part of the plan that is decided elsewhere refused and all that did may
--          strike (for an episode of that length), 4 more when some of it may not. A shape is
--          (takes, abuse key?, rungs, decay, longest block, may strike?), six numbers per take, four per rung.
-- Reply    one string of 64-bit integers: now, then for each plan a code and what the code announces.
--
-- Every number is a whole one below 2^53, exact in a double; a quotient of two of them, rounded down or up,
-- is exact as well. What may lose digits (tostring, .., cjson, %.14g) is not used. Runs on Lua 5.1 and 5.4.
local call, floor, ceil, max, min = redis.call, math.floor, math.ceil, math.max, math.min
local pack, read = string.pack or struct.pack, string.unpack or struct.unpack
local unpack = table.unpack or unpack

local blob = ARGV[1]
local now, plans = read('<dd', blob)
local slack = 3600000
if now < 0 then
  local time = call('TIME')
  now, slack = time[1] * 1000000 + time[2], 1000
end

local values = {}
if #KEYS == 1 then
  values[1] = call('GET', KEYS[1])
elseif #KEYS > 1 then
  values = call('MGET', unpack(KEYS))
end

-- Plans that travel together may share keys: what one changed, the next one sees, and it is written once.
local many = plans > 1
local held, rest = many and {}, many and {} -- key -> packed state; key -> microseconds until it is at rest

local function put(key, state, remains)
  if many then
    held[key], rest[key] = state, remains
    return
  end
  local ttl = ceil(remains / 1000) + slack
  if string.pack then ttl = ('%.0f'):format(ttl) end -- Lua 5.1 passes whole numbers on exactly
  call('PSETEX', key, ttl, state)
end

-- A meter is kept as the instant at which it will have drained: whole microseconds, and the rest in units of
-- 1/b microsecond. Where there is no rest, digits would do (16 of them, in our days): Redis keeps those as an
-- integer, in 16 bytes less; Valkey 9 keeps packed bytes inside the key, in 14 less than an integer.
local digits = redis.SERVER_NAME ~= 'valkey'

local function meter(raw, b)
  if b == 1 and #raw == 16 then return raw + 0, 0 end
  return read('<I7I4', raw)
end

local function pack_meter(instant, fraction, b)
  if digits and b == 1 and instant >= 1e15 then return ('%.0f'):format(instant) end
  return pack('<I7I4', instant, fraction)
end

local out, o = {now}, 1

-- Where everything admits, which is nearly always: one pass that packs each charged state on the way.
-- Returns false, with nothing written, as soon as that is not so.
local fresh, ends = {}, {}
local function all_admit(k, n, place, cost)
  local start = o
  for i = 1, n do
    local kind, _, a, b, full = read('<ddddd', blob, place)
    local key = KEYS[k + i]
    local raw = many and held[key] or values[k + i]
    if kind == 1 then
      -- Token bucket: a = weight of a token, b = drain per microsecond.
      local filled = cost * a
      if raw then
        local instant, fraction = meter(raw, b)
        if instant >= now then filled = filled + (instant - now) * b + fraction end
      end
      if not (filled <= full) then
        o = start
        return false
      end
      local whole = floor(filled / b)
      local fraction = filled - whole * b
      fresh[i] = pack_meter(now + whole, fraction, b)
      ends[i] = fraction > 0 and whole + 1 or whole
      out[o + 2] = floor((full - filled) / a)
    else
      -- Sliding window: a = width of a sub-window, b = their number, full = the limit. Packed as (number of
      -- the youngest sub-window, sum of all counts), then (number modulo 65536, count) per sub-window.
      local slot, total, state = floor(now / a), cost, nil
      if raw then
        local youngest, sum = read('<I7I4', raw)
        if youngest > slot then -- the clock stepped back
          o = start
          return false
        end
        if youngest + b >= slot then
          local from, last = 12, #raw - 5
          local low, count = read('<HI4', raw, from)
          while youngest - (youngest - low) % 65536 + b < slot do
            sum, from = sum - count, from + 6
            low, count = read('<HI4', raw, from)
          end
          total = cost + sum
          if youngest == slot then
            low, count = read('<HI4', raw, last)
            state = raw:sub(from, last - 1) .. pack('<HI4', low, count + cost)
          else
            state = raw:sub(from) .. pack('<HI4', slot % 65536, cost)
          end
        end
      end
      if not (total <= full) then
        o = start
        return false
      end
      fresh[i] = state and pack('<I7I4', slot, total) .. state or pack('<I7I4HI4', slot, cost, slot % 65536, cost)
      ends[i] = (slot + b + 1) * a - now
      out[o + 2] = full - total
    end
    out[o + 1], out[o + 3] = 0, ends[i]
    o, place = o + 3, place + 48
  end
  for i = 1, n do put(KEYS[k + i], fresh[i], ends[i]) end
  return true
end

-- Everything else: what each limit says, and what it keeps although nothing is charged. Made when needed.
local retry, left, reset, clamped
local function slow()
  retry, left, reset, clamped = {}, {}, {}, {}

  local function bucket(i, raw, cost, a, b, full, most)
    local filled = 0
    if raw then
      local instant, fraction = meter(raw, b)
      if instant >= now then
        filled = (instant - now) * b + fraction
        if not (filled <= full) then -- the clock stepped back
          filled = full
          local whole = floor(full / b)
          clamped[i] = pack_meter(now + whole, full - whole * b, b)
          ends[i] = ceil(full / b)
        end
      end
    end
    local excess = filled + cost * a - full
    if not (excess <= 0) then retry[i] = cost <= most and ceil(excess / b) or -1 end
    left[i], reset[i] = floor((full - filled) / a), ceil(filled / b)
  end

  local function window(i, raw, cost, a, b, full)
    local slot, total, youngest, entries = floor(now / a), 0, 0, {}
    if raw then
      youngest = read('<I7', raw)
      local kept, moved, future, sum = '', 0, youngest > slot, 0
      for at = 12, #raw - 5, 6 do
        local low, count = read('<HI4', raw, at)
        local number = youngest - (youngest - low) % 65536
        sum = sum + count
        if future and number >= slot then -- the clock stepped back: it counts from now on
          moved, number = moved + count, slot
        else
          kept = kept .. raw:sub(at, at + 5)
        end
        if number + b >= slot then
          total = total + count
          entries[#entries + 1], entries[#entries + 2] = number, count
        end
      end
      if future then
        youngest = slot
        clamped[i] = pack('<I7I4', slot, sum) .. kept .. pack('<HI4', slot % 65536, moved)
        ends[i] = (slot + b + 1) * a - now
      end
    end
    left[i], reset[i] = full - total, entries[1] and (youngest + b + 1) * a - now or 0
    if not (total + cost <= full) then
      retry[i] = -1
      if cost <= full then
        local excess, j = total + cost - full, 1
        while excess > entries[j + 1] do excess, j = excess - entries[j + 1], j + 2 end
        retry[i] = (entries[j] + b + 1) * a - now
      end
    end
  end

  -- Returns how many refuse.
  return function(k, n, place, cost)
    local refusing = 0
    for i = 1, n do
      local kind, _, a, b, full, most = read('<dddddd', blob, place)
      local raw = many and held[KEYS[k + i]] or values[k + i]
      retry[i], clamped[i] = 0, false
      if kind == 1 then bucket(i, raw, cost, a, b, full, most) else window(i, raw, cost, a, b, full) end
      if retry[i] ~= 0 then refusing = refusing + 1 end
      place = place + 48
    end
    return refusing
  end
end
local ask_each

local k = 0
for plan = 1, plans do
  local place, cost, mode, episode = read('<dddd', blob, plan * 32 - 15)
  local peek, outside = mode % 2 == 1, floor(mode / 2)
  local n, recorded, rungs, decay, longest, may_strike = read('<dddddd', blob, place)
  local takes = place + 48
  local record, strikes, struck, blocked, banned, shadow, settled
  if recorded == 1 then
    record = KEYS[k + n + 1]
    local raw = many and held[record] or values[k + n + 1]
    if raw and rungs > 0 then strikes, struck, blocked, banned, shadow, settled = read('<I4ddBdd', raw) end
  end
  local shadowed = strikes and shadow > now

  o = o + 1
  if strikes and blocked > now then
    -- 1. Under a running ban or cooldown: refused at once, nothing consumed, no strike added.
    local remains = blocked - now
    if remains > longest and longest > 0 then -- the clock stepped back
      remains = longest
      if not peek then
        local state = pack('<I4ddBdd', strikes, struck, now + longest, banned, shadow, settled)
        put(record, state, max(struck + decay, now + longest, shadow, settled) - now)
      end
    end
    out[o], out[o + 1], out[o + 2], out[o + 3] = 16 + 4 * banned, remains, 0, remains
    o = o + 3

  -- 2. Every limit is asked; 3. all admit: all are charged.
  elseif mode == 0 and cost > 0 and all_admit(k, n, takes, cost) then
    out[o - 3 * n] = shadowed and 11 or 9

  else
    ask_each = ask_each or slow()
    local refusing = ask_each(k, n, takes, cost) + outside
    if refusing == 0 and mode == 0 and cost > 0 then
      -- All admit, now that states from the future are clamped.
      for i = 1, n do
        if clamped[i] then
          values[k + i] = clamped[i]
          if many then held[KEYS[k + i]] = clamped[i] end
        end
      end
      all_admit(k, n, takes, cost)
      out[o - 3 * n] = shadowed and 11 or 9
    else
      -- A state that was clamped is kept, charged or not.
      for i = 1, n do
        if clamped[i] and not peek then put(KEYS[k + i], clamped[i], ends[i]) end
      end
      local code = shadowed and 11 or 9
      if refusing > 0 then
        -- 4. One refuses: none is charged.
        local inside = strikes and now < settled
        local sure, strike, block, striking, at = 0, 0, 0, episode > 0 and 1 or 0, takes
        for i = 1, n do
          local wait = retry[i]
          if wait ~= 0 then
            sure = max(sure, wait < 0 and 1000000 or wait)
            local kind, strikes_here, _, _, _, window = read('<dddddd', blob, at)
            if wait > 0 and strikes_here == 1 then
              striking = striking + 1
              episode = max(episode, kind == 1 and max(wait, 1000000) or window)
            end
          end
          at = at + 48
        end
        code = 24
        if rungs > 0 and may_strike == 1 then sure = inside and min(sure, settled - now) or 0 end
        if rungs > 0 and not inside and striking > 0 then
          -- 5. The first refusal of an episode is a strike, and the ladder's rung applies.
          strike = strikes and now - struck < decay and strikes + 1 or 1
          local forgive, stop, ban, hide = read('<dddd', blob, at + 32 * (min(strike, rungs) - 1))
          local hidden = hide > 0 and now + hide or 0
          if shadowed and shadow > hidden then hidden = shadow end
          shadowed, block, sure = hidden > now, stop, 0
          if forgive == 1 and striking == refusing then code = code + 1 end
          code = code + 4 * ban
          if record and not peek then
            local till = block > 0 and now + block or 0
            local state = pack('<I4ddBdd', strike, now, till, ban, hidden, now + episode)
            put(record, state, max(now + decay, till, hidden, now + episode) - now)
          end
        elseif shadowed then
          sure = min(sure, shadow - now)
        end
        if shadowed then code = code + 2 end
        out[o + 1], out[o + 2], out[o + 3] = sure, strike, block
      end
      out[o] = code
      if refusing > 0 then o = o + 3 end
      for i = 1, n do
        out[o + 1], out[o + 2], out[o + 3] = retry[i], left[i], reset[i]
        o = o + 3
      end
    end
  end
  k = k + n + recorded
end

if many then
  many = false
  for key, remains in pairs(rest) do put(key, held[key], remains) end
end
return pack('<' .. ('i8'):rep(o), unpack(out, 1, o))
