/** What Redis runs for one decision: the three algorithms over one key, on the clock of the store. */

import type { LimiterSpec } from "../proxy/pipeline/plugin.ts";

/*
 * rate-limiter-flexible calls the script with KEYS[1], the cost, seconds, points and seconds; it reads back
 * { consumed, milliseconds }, and refuses when consumed is above the points (the burst for GCRA, else the limit).
 */
const now = `local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local cost = tonumber(ARGV[1])
local points = tonumber(ARGV[3])
`;

/** Windows start at multiples of their length, as in the local store. A refused request takes nothing. */
const fixedWindow = (windowMs: number): string => `${now}
local window = math.floor(now / ${windowMs})
local untilMs = (window + 1) * ${windowMs} - now
local state = redis.call('HMGET', KEYS[1], 'w', 'n')
local taken = 0
if tonumber(state[1]) == window then taken = tonumber(state[2]) end
if taken + cost > points then return { points + 1, untilMs } end
redis.call('HSET', KEYS[1], 'w', window, 'n', taken + cost)
redis.call('PEXPIRE', KEYS[1], untilMs)
return { taken + cost, untilMs }`;

/** A level that drains at the rate and may not rise above the burst. */
const gcra = (unitMs: number): string => `${now}
local state = redis.call('HMGET', KEYS[1], 'l', 't')
local level = tonumber(state[1]) or 0
local since = math.max(0, now - (tonumber(state[2]) or now))
level = math.max(0, level - since / ${unitMs})
if level + cost > points + 1e-6 then
  return { points + 1, math.ceil(math.min(level + cost - points, points) * ${unitMs}) }
end
level = level + cost
local untilMs = math.ceil(level * ${unitMs})
redis.call('HSET', KEYS[1], 'l', string.format('%.6f', level), 't', string.format('%d', now))
redis.call('PEXPIRE', KEYS[1], untilMs + 1)
return { math.ceil(level - 1e-6), untilMs }`;

/** Counts per eighth of a window; the eighth that has half left the window is counted in full. */
const slidingWindow = (windowMs: number): string => `${now}
local binMs = ${windowMs / 8}
local bin = math.floor(now / binMs)
local bins = redis.call('HGETALL', KEYS[1])
local taken = 0
local oldest = bin
for i = 1, #bins, 2 do
  local at = tonumber(bins[i])
  if at < bin - 8 then redis.call('HDEL', KEYS[1], bins[i])
  else
    taken = taken + tonumber(bins[i + 1])
    if at < oldest then oldest = at end
  end
end
if taken + cost > points then return { points + 1, math.ceil((oldest + 9) * binMs - now) } end
redis.call('HINCRBY', KEYS[1], string.format('%d', bin), cost)
redis.call('PEXPIRE', KEYS[1], math.ceil(9 * binMs))
return { taken + cost, math.ceil((bin + 9) * binMs - now) }`;

/** The script of a limit. Its numbers come from a validated configuration. */
export function storeScript(spec: LimiterSpec): string {
  switch (spec.algorithm) {
    case "fixed-window":
      return fixedWindow(spec.windowMs);
    case "sliding-window":
      return slidingWindow(spec.windowMs);
    case "gcra":
      return gcra(spec.windowMs / spec.limit);
  }
}
