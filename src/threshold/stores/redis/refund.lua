-- refund.lua: give back what one plan was charged, as far as that is surely safe.
--
-- KEYS     the keys of the plan's takes.
-- ARGV[1]  doubles, packed: now (negative: the server's clock), the instant of the charge, then for each take
--          (1, drain, whole microseconds charged, rest in 1/drain) for a token bucket,
--          (2, width of a sub-window, number of the charged one, cost) for a sliding window.
local call = redis.call
local pack, read = string.pack or struct.pack, string.unpack or struct.unpack

local p = {read('<' .. ('d'):rep(#ARGV[1] / 8), ARGV[1])}
local now, at = p[1], p[2]
if now < 0 then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end

for i = 1, #KEYS do
  local key, t = KEYS[i], 4 * i - 1
  local raw = call('GET', key)
  if raw and p[t] == 1 then
    -- What drained since the charge may have been the charge itself: only the rest is given back.
    local instant, fraction = raw, 0
    if p[t + 1] == 1 and #raw == 16 then instant = raw + 0 else instant, fraction = read('<I7I4', raw) end
    local drain, whole, part = p[t + 1], p[t + 2] - math.max(0, now - at), p[t + 3]
    if whole > 0 or (whole == 0 and part > 0) then
      instant, fraction = instant - whole, fraction - part
      if fraction < 0 then instant, fraction = instant - 1, fraction + drain end
      if instant < now then instant, fraction = now, 0 end
      local digits = #raw == 16 and instant >= 1e15
      local state = digits and ('%.0f'):format(instant) or pack('<I7I4', instant, fraction)
      call('SET', key, state, 'KEEPTTL')
    end
  elseif raw then
    local youngest, sum = read('<I7I4', raw)
    for at = 12, #raw - 5, 6 do
      local low, count = read('<HI4', raw, at)
      if youngest - (youngest - low) % 65536 == p[t + 2] then
        local back = math.min(p[t + 3], count)
        local entry = count > back and pack('<HI4', low, count - back) or ''
        local entries = raw:sub(12, at - 1) .. entry .. raw:sub(at + 6)
        if entries == '' then
          call('DEL', key)
        else
          local last = read('<H', entries, #entries - 5)
          youngest = youngest - (youngest - last) % 65536
          call('SET', key, pack('<I7I4', youngest, sum - back) .. entries, 'KEEPTTL')
        end
        break
      end
    end
  end
end
return 0
