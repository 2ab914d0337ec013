-- decide.lua: the twin of threshold/engine.py on a Redis or Valkey server. One call decides any number of plans.
--
-- KEYS     for each plan: the keys of its takes, then the key of its abuse record, if it has one.
-- ARGV[1]  doubles, packed (see wire.py): now (negative: the server's clock), number of plans, then for each
--          plan (shape, cost, mode, outside episode), then the shapes. A shape is
--          (takes, abuse key?, rungs, decay, longest block, may strike?), six numbers per take, four per rung.
-- Reply    one string of 64-bit integers: now, then for each plan a code and what the code announces.
--
-- Every number is a whole one below 2^53, exact in a double; a quotient of two of them, rounded down or up,
-- is exact as well. What may lose digits (tostring, .., cjson, %.14g) is not used. Runs on Lua 5.1 and 5.4.
local call, floor, ceil = redis.call, math.floor, math.ceil
local pack, read = string.pack or struct.pack, string.unpack or struct.unpack
local unpack = table.unpack or unpack

local p = {read('<' .. ('d'):rep(#ARGV[1] / 8), ARGV[1])}
local now, slack = p[1], 3600000
if now < 0 then
  local time = call('TIME')
  now, slack = time[1] * 1000000 + time[2], 1000
end

-- State is read once and written once, however many plans of this call share a key.
local held, rest = {}, {} -- key -> packed state; key -> microseconds until it is at rest (only what changed)
local keys = #KEYS
if keys == 1 then
  held[KEYS[1]] = call('GET', KEYS[1])
elseif keys > 1 then
  local values = call('MGET', unpack(KEYS))
  for i = 1, keys do held[KEYS[i]] = values[i] end
end

-- A ring is packed as the number of its oldest sub-window, then (distance from it, count) per entry.
local function unpack_ring(raw)
  return {read('<d' .. ('HI4'):rep((#raw - 8) / 6), raw)}, (#raw - 8) / 3
end

local function pack_ring(base, ring, first, last)
  local shift = ring[first]
  for i = first, last, 2 do ring[i] = ring[i] - shift end
  return pack('<d' .. ('HI4'):rep((last - first) / 2 + 1), base + shift, unpack(ring, first, last + 1))
end

local out, o, k, d = {now}, 1, 0, -1
local retry, left, reset = {}, {}, {} -- what each take says when nothing is charged
local level, rings, first, clamped = {}, {}, {}, {} -- and what it would be charged on

for _ = 1, p[2] do
  d = d + 4
  local s, cost, mode, episode = p[d], p[d + 1], p[d + 2], p[d + 3]
  local peek, outside = mode == 1 or mode == 3, mode >= 2
  local n, rungs, decay, longest, may_strike = p[s], p[s + 2], p[s + 3], p[s + 4], p[s + 5] == 1
  local record, strikes, struck, blocked, banned, shadow, settled
  if p[s + 1] == 1 then
    record = KEYS[k + n + 1]
    local raw = held[record]
    if raw and rungs > 0 then strikes, struck, blocked, banned, shadow, settled = read('<dddddd', raw) end
  end

  if strikes and blocked > now then
    -- 1. Under a running ban or cooldown.
    local remains = blocked - now
    if remains > longest and longest > 0 then -- the clock stepped back
      remains = longest
      if not peek then
        held[record] = pack('<dddddd', strikes, struck, now + longest, banned, shadow, settled)
        rest[record] = math.max(struck + decay, now + longest, shadow, settled) - now
      end
    end
    out[o + 1], out[o + 2], out[o + 3], out[o + 4] = 16 + 4 * banned, remains, 0, remains
    o = o + 4
  else
    local shadowed = strikes and shadow > now
    local refusing = outside and 1 or 0

    -- 2. Every limit is asked; nothing is written yet.
    local t = s + 6
    for i = 1, n do
      local raw = held[KEYS[k + i]]
      local a, b, full = p[t + 2], p[t + 3], p[t + 4]
      retry[i], clamped[i] = 0, false
      if p[t] == 1 then
        -- Token bucket: a = weight of a token, b = drain per microsecond. Packed as the instant at which the
        -- meter will have drained: whole microseconds, and the rest in units of 1/b microsecond.
        local filled = 0
        if raw then
          local instant, fraction = read('<dd', raw)
          if instant >= now then
            filled = (instant - now) * b + fraction
            if not (filled <= full) then -- the clock stepped back
              filled, clamped[i] = full, true
            end
          end
        end
        local excess = filled + cost * a - full
        if not (excess <= 0) then
          refusing = refusing + 1
          retry[i] = cost <= p[t + 5] and ceil(excess / b) or -1
        end
        level[i], left[i], reset[i] = filled, floor((full - filled) / a), ceil(filled / b)
      else
        -- Sliding window: a = width of a sub-window, b = their number, full = the limit.
        local slot, ring, from, last, total = floor(now / a), nil, 2, 0, 0
        if raw then
          ring, last = unpack_ring(raw)
          local base = ring[1]
          if base + ring[last] > slot then -- the clock stepped back
            clamped[i] = true
            local moved = 0
            while last >= 2 and base + ring[last] >= slot do
              moved, last = moved + ring[last + 1], last - 2
            end
            if last < 2 then base, ring[1] = slot, slot end
            last = last + 2
            ring[last], ring[last + 1] = slot - base, moved
          end
          local oldest = slot - b - base
          while from <= last and ring[from] < oldest do from = from + 2 end
          for j = from, last, 2 do total = total + ring[j + 1] end
        end
        level[i], rings[i], first[i], left[i] = last, ring, from, full - total
        reset[i] = from <= last and (ring[1] + ring[last] + b + 1) * a - now or 0
        if not (total + cost <= full) then
          refusing = refusing + 1
          retry[i] = -1
          if cost <= full then
            local excess, j = total + cost - full, from
            while excess > ring[j + 1] do excess, j = excess - ring[j + 1], j + 2 end
            retry[i] = (ring[1] + ring[j] + b + 1) * a - now
          end
        end
      end
      t = t + 6
    end

    -- A state that was clamped is kept, charged or not.
    t = s + 6
    for i = 1, n do
      if clamped[i] and not peek then
        local key = KEYS[k + i]
        rest[key] = reset[i]
        if p[t] == 1 then
          local whole = floor(level[i] / p[t + 3])
          held[key] = pack('<dd', now + whole, level[i] - whole * p[t + 3])
        else
          local ring, copy, last = rings[i], {}, level[i]
          for j = 1, last + 1 do copy[j] = ring[j] end
          held[key] = pack_ring(copy[1], copy, 2, last)
          rest[key] = (ring[1] + ring[last] + p[t + 3] + 1) * p[t + 2] - now
        end
      end
      t = t + 6
    end

    o = o + 1
    if refusing == 0 then
      -- 3. All admit: all are charged.
      out[o] = shadowed and 11 or 9
      t = s + 6
      for i = 1, n do
        local a, b = p[t + 2], p[t + 3]
        if peek or cost == 0 then
          out[o + 1], out[o + 2], out[o + 3] = 0, left[i], reset[i]
        elseif p[t] == 1 then
          local filled = level[i] + cost * a
          local whole = floor(filled / b)
          local fraction = filled - whole * b
          local ends = fraction > 0 and whole + 1 or whole
          local key = KEYS[k + i]
          held[key], rest[key] = pack('<dd', now + whole, fraction), ends
          out[o + 1], out[o + 2], out[o + 3] = 0, floor((p[t + 4] - filled) / a), ends
        else
          local slot, ring, from, last = floor(now / a), rings[i], first[i], level[i]
          local ends, key = (slot + b + 1) * a - now, KEYS[k + i]
          if from > last then
            held[key] = pack('<dHI4', slot, 0, cost)
          else
            local base = ring[1]
            if base + ring[last] == slot then
              ring[last + 1] = ring[last + 1] + cost
            else
              last = last + 2
              ring[last], ring[last + 1] = slot - base, cost
            end
            held[key] = pack_ring(base, ring, from, last)
          end
          rest[key] = ends
          out[o + 1], out[o + 2], out[o + 3] = 0, left[i] - cost, ends
        end
        o, t = o + 3, t + 6
      end
    else
      -- 4. One refuses: none is charged.
      local inside = strikes and now < settled
      local longest_retry, striking, place = 0, 0, o
      t = s + 6
      if episode > 0 then striking = 1 end
      for i = 1, n do
        local wait = retry[i]
        if wait ~= 0 then
          if wait < 0 then wait = 1000000 end
          if wait > longest_retry then longest_retry = wait end
          if retry[i] > 0 and p[t + 1] == 1 then
            striking = striking + 1
            if p[t] ~= 1 then wait = p[t + 5] elseif wait < 1000000 then wait = 1000000 end
            if wait > episode then episode = wait end
          end
        end
        t = t + 6
      end

      local code, sure, strike, block = 24, longest_retry, 0, 0
      if rungs > 0 and may_strike then
        sure = inside and math.min(sure, settled - now) or 0
      end
      if rungs > 0 and not inside and striking > 0 then
        -- 5. The first refusal of an episode is a strike, and the ladder's rung applies.
        local number = strikes and now - struck < decay and strikes + 1 or 1
        local r = t + 4 * (math.min(number, rungs) - 1)
        local hidden = p[r + 3] > 0 and now + p[r + 3] or 0
        if shadowed and shadow > hidden then hidden = shadow end
        strike, block, sure = number, p[r + 1], 0
        if p[r] == 1 and striking == refusing then code = code + 1 end
        if p[r + 2] == 1 then code = code + 4 end
        shadowed = hidden > now
        if record and not peek then
          local ends = block > 0 and now + block or 0
          held[record] = pack('<dddddd', number, now, ends, p[r + 2], hidden, now + episode)
          rest[record] = math.max(now + decay, ends, hidden, now + episode) - now
        end
      elseif shadowed then
        sure = math.min(sure, shadow - now)
      end
      if shadowed then code = code + 2 end
      out[o], out[o + 1], out[o + 2], out[o + 3] = code, sure, strike, block
      o = o + 3
      for i = 1, n do
        out[o + 1], out[o + 2], out[o + 3] = retry[i], left[i], reset[i]
        o = o + 3
      end
    end
  end
  k = k + n + p[s + 1]
end

for key, remains in pairs(rest) do
  local ttl = ceil(remains / 1000) + slack
  if string.pack then ttl = ('%.0f'):format(ttl) end -- Lua 5.1 passes whole numbers on exactly
  call('SET', key, held[key], 'PX', ttl)
end
return pack('<' .. ('i8'):rep(o), unpack(out, 1, o))
