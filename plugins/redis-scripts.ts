/** What Redis runs for decisions: the algorithms over any number of keys, on the clock of the store. */

/*
 * KEYS; ARGV, four for each key: cost, points (the burst for gcra, else the limit), milliseconds (of a unit for gcra,
 * else of the window), 1 to take the cost though it is not there.
 * The answer, four for each key: 1 when it was taken, what is left, milliseconds until full again, milliseconds until
 * the cost would fit.
 */
function script(decide: string): string {
  return `local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local function decide(key, cost, points, ms, force)
${decide}
end
local answer = {}
for i, key in ipairs(KEYS) do
  local at = 4 * i
  answer[at - 3], answer[at - 2], answer[at - 1], answer[at] = decide(key,
    tonumber(ARGV[at - 3]), tonumber(ARGV[at - 2]), tonumber(ARGV[at - 1]), ARGV[at] == '1')
end
return answer`;
}

/** A level that drains at the rate and may not rise above the burst. A clock that steps back gives nothing back. */
const gcra = script(`
local state = redis.call('HMGET', key, 'l', 't')
local last = tonumber(state[2]) or now
local level = math.max(0, (tonumber(state[1]) or 0) - math.max(0, now - last) / ms)
local fits = level + cost <= points + 1e-6
if fits or force then level = level + cost end
local untilMs = math.ceil(level * ms)
local left = math.max(0, math.floor(points - level + 1e-6))
if not fits and not force then
  return 0, left, untilMs, math.ceil((level + math.min(cost, points) - points) * ms)
end
redis.call('HSET', key, 'l', string.format('%.6f', level), 't', string.format('%d', math.max(now, last)))
redis.call('PEXPIRE', key, untilMs + math.max(0, last - now) + 1)
return 1, left, untilMs, 0`);

/** Counts per eighth of a window; the eighth that has half left the window is counted in full. */
const slidingWindow = script(`
local binMs = ms / 8
local bin = math.floor(now / binMs)
local bins = redis.call('HGETALL', key)
local taken = 0
local oldest = bin
local latest = bin
for i = 1, #bins, 2 do
  local at = tonumber(bins[i])
  if at < bin - 8 then redis.call('HDEL', key, bins[i])
  else
    taken = taken + tonumber(bins[i + 1])
    if at < oldest then oldest = at end
    if at > latest then latest = at end
  end
end
local untilMs = math.ceil((latest + 9) * binMs - now)
if taken + cost > points and not force then
  return 0, math.max(0, points - taken), untilMs, math.ceil((oldest + 9) * binMs - now)
end
redis.call('HINCRBY', key, string.format('%d', latest), cost)
redis.call('PEXPIRE', key, untilMs)
return 1, math.max(0, points - taken - cost), untilMs, 0`);

/** Numbers that a script wants, and gives, for each key. */
export const numbersPerKey = 4;

/** Names of the commands, for one key and for several, and the script of each algorithm that has one; the others are rate-limiter-flexible's. */
export const storeScripts = {
  gcra: { one: "weftGcra", several: "weftGcraAll", lua: gcra },
  "sliding-window": {
    one: "weftSlidingWindow",
    several: "weftSlidingWindowAll",
    lua: slidingWindow,
  },
} as const;

/** One of the scripts. */
export type StoreScript = (typeof storeScripts)[keyof typeof storeScripts];
