/** What Redis runs for one decision: the algorithms over one key, on the clock of the store. */

/*
 * KEYS[1]; ARGV: cost, points (the burst for gcra, else the limit), milliseconds (of a unit for gcra, else of the
 * window), 1 to take the cost though it is not there.
 * The answer: 1 when it was taken, what is left, milliseconds until full again, milliseconds until the cost would fit.
 */
const given = `local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local cost = tonumber(ARGV[1])
local points = tonumber(ARGV[2])
local ms = tonumber(ARGV[3])
local force = ARGV[4] == '1'
`;

/** A level that drains at the rate and may not rise above the burst. A clock that steps back gives nothing back. */
const gcra = `${given}
local state = redis.call('HMGET', KEYS[1], 'l', 't')
local last = tonumber(state[2]) or now
local level = math.max(0, (tonumber(state[1]) or 0) - math.max(0, now - last) / ms)
local fits = level + cost <= points + 1e-6
if fits or force then level = level + cost end
local untilMs = math.ceil(level * ms)
local left = math.max(0, math.floor(points - level + 1e-6))
if not fits and not force then
  return { 0, left, untilMs, math.ceil((level + math.min(cost, points) - points) * ms) }
end
redis.call('HSET', KEYS[1], 'l', string.format('%.6f', level), 't', string.format('%d', math.max(now, last)))
redis.call('PEXPIRE', KEYS[1], untilMs + math.max(0, last - now) + 1)
return { 1, left, untilMs, 0 }`;

/** Counts per eighth of a window; the eighth that has half left the window is counted in full. */
const slidingWindow = `${given}
local binMs = ms / 8
local bin = math.floor(now / binMs)
local bins = redis.call('HGETALL', KEYS[1])
local taken = 0
local oldest = bin
local latest = bin
for i = 1, #bins, 2 do
  local at = tonumber(bins[i])
  if at < bin - 8 then redis.call('HDEL', KEYS[1], bins[i])
  else
    taken = taken + tonumber(bins[i + 1])
    if at < oldest then oldest = at end
    if at > latest then latest = at end
  end
end
local untilMs = math.ceil((latest + 9) * binMs - now)
if taken + cost > points and not force then
  return { 0, math.max(0, points - taken), untilMs, math.ceil((oldest + 9) * binMs - now) }
end
redis.call('HINCRBY', KEYS[1], string.format('%d', latest), cost)
redis.call('PEXPIRE', KEYS[1], untilMs)
return { 1, math.max(0, points - taken - cost), untilMs, 0 }`;

/** Name of the command, and its script, of each algorithm that has one; the others are rate-limiter-flexible's. */
export const storeScripts = {
  gcra: { command: "weftGcra", lua: gcra },
  "sliding-window": { command: "weftSlidingWindow", lua: slidingWindow },
} as const;
