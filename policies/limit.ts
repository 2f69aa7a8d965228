/** Rate limits as arithmetic over a few numbers: GCRA, windows, and a plain count; whoever keeps the numbers locks them. */

export interface LimitRule {
  /** `count` never gives anything back: the key names the period, and is forgotten a window after its last use. */
  readonly algorithm: "gcra" | "fixed-window" | "sliding-window" | "count";
  /** Units per window; > 0. */
  readonly limit: number;
  readonly windowMs: number;
  /** GCRA only: units that may come at once; > 0. */
  readonly burst: number;
}

export interface LimitDecision {
  readonly allowed: boolean;
  readonly limit: number;
  /** What is left now, whole units. */
  readonly remaining: number;
  /** Milliseconds until the allowance is full again. */
  readonly resetMs: number;
  /** Milliseconds until this cost would be allowed; 0 when it was. */
  readonly retryAfterMs: number;
}

/** Bins of the sliding window, and numbers that any algorithm keeps per key. All zero: never seen. */
const BINS = 8;
export const limitStateLength = BINS + 2;

/** Rounding of fractions of a unit, far below one. */
const EPSILON = 1e-6;

/**
 * Takes `cost` from the allowance whose numbers start at `state[at]`.
 * A clock that steps back a little (another thread's) gives nothing back and takes nothing.
 * @param nowMs > 0, the same clock for everyone who shares the state
 * @param force take it though it is not there: what has been used already is owed
 */
export function takeLimit(
  rule: LimitRule,
  state: Float64Array,
  at: number,
  cost: number,
  nowMs: number,
  force = false,
): LimitDecision {
  switch (rule.algorithm) {
    case "gcra":
      return takeGcra(rule, state, at, cost, nowMs, force);
    case "fixed-window":
      return takeFixed(rule, state, at, cost, nowMs, force);
    case "sliding-window":
      return takeSliding(rule, state, at, cost, nowMs, force);
    case "count":
      return takeCount(rule, state, at, cost, force);
  }
}

/** State: units taken. */
function takeCount(
  rule: LimitRule,
  state: Float64Array,
  at: number,
  cost: number,
  force: boolean,
): LimitDecision {
  const allowed = force || state[at]! + cost <= rule.limit + EPSILON;
  if (allowed) state[at]! += cost;
  return {
    allowed,
    limit: rule.limit,
    remaining: Math.max(0, Math.floor(rule.limit - state[at]! + EPSILON)),
    resetMs: rule.windowMs,
    retryAfterMs: allowed ? 0 : rule.windowMs,
  };
}

/**
 * The continuous-state form of GCRA (ITU-T I.371 annex A: equal to virtual scheduling): a level that drains at the rate
 * and may not rise above the burst. Whole units at one instant stay whole numbers, so `burst: N` is exactly N.
 * State: level, time of the level.
 */
function takeGcra(
  rule: LimitRule,
  state: Float64Array,
  at: number,
  cost: number,
  nowMs: number,
  force: boolean,
): LimitDecision {
  const unitMs = rule.windowMs / rule.limit;
  const last = state[at + 1]!;
  // how far this clock is behind the one of the last take: nothing drains until then
  const behindMs = Math.max(0, last - nowMs);
  const drained = nowMs > last ? (nowMs - last) / unitMs : 0;
  let level = Math.max(0, state[at]! - drained);
  const allowed = force || level + cost <= rule.burst + EPSILON;
  if (allowed) level += cost;
  state[at] = level;
  state[at + 1] = Math.max(last, nowMs);
  return {
    allowed,
    limit: rule.limit,
    remaining: Math.max(0, Math.floor(rule.burst - level + EPSILON)),
    resetMs: level * unitMs + behindMs,
    // a debt may be larger than the burst; a cost above the burst never fits
    retryAfterMs: allowed
      ? 0
      : (cost > rule.burst ? rule.burst : level + cost - rule.burst) * unitMs + behindMs,
  };
}

/** State: number of the window, units taken in it. Windows start at multiples of their length. */
function takeFixed(
  rule: LimitRule,
  state: Float64Array,
  at: number,
  cost: number,
  nowMs: number,
  force: boolean,
): LimitDecision {
  const window = Math.max(Math.floor(nowMs / rule.windowMs), state[at]!);
  let taken = window === state[at]! ? state[at + 1]! : 0;
  const allowed = force || taken + cost <= rule.limit + EPSILON;
  if (allowed) taken += cost;
  state[at] = window;
  state[at + 1] = taken;
  const resetMs = Math.max(0, (window + 1) * rule.windowMs - nowMs);
  return {
    allowed,
    limit: rule.limit,
    remaining: Math.max(0, Math.floor(rule.limit - taken + EPSILON)),
    resetMs,
    retryAfterMs: allowed ? 0 : resetMs,
  };
}

/**
 * Never above the limit in any span of one window: counts per eighth of a window, the eighth that has half left the
 * window counted in full. (The usual blend of two windows lets through up to 1.5 x the limit.)
 * State: number of the current bin, then the bins in a ring.
 */
function takeSliding(
  rule: LimitRule,
  state: Float64Array,
  at: number,
  cost: number,
  nowMs: number,
  force: boolean,
): LimitDecision {
  const binMs = rule.windowMs / BINS;
  const ring = BINS + 1;
  const before = state[at]!;
  const bin = Math.max(Math.floor(nowMs / binMs), before);
  const gone = Math.min(bin - before, ring);
  for (let i = 1; i <= gone; i++) state[at + 1 + ((before + i) % ring)] = 0;
  if (gone === ring) state.fill(0, at + 1, at + 1 + ring);
  state[at] = bin;
  let taken = 0;
  for (let i = 0; i < ring; i++) taken += state[at + 1 + i]!;
  const allowed = force || taken + cost <= rule.limit + EPSILON;
  if (allowed) {
    state[at + 1 + (bin % ring)]! += cost;
    taken += cost;
  }
  let resetMs = 0;
  let retryAfterMs = 0;
  let left = taken;
  for (let age = BINS; age >= 0; age--) {
    const count = state[at + 1 + ((bin - age + ring) % ring)]!;
    if (count === 0) continue;
    left -= count;
    resetMs = (bin - age + ring) * binMs - nowMs;
    if (!allowed && retryAfterMs === 0 && left + cost <= rule.limit + EPSILON)
      retryAfterMs = resetMs;
  }
  if (!allowed && retryAfterMs === 0) retryAfterMs = rule.windowMs;
  const remaining = Math.max(0, Math.floor(rule.limit - taken + EPSILON));
  return { allowed, limit: rule.limit, remaining, resetMs, retryAfterMs };
}

/** Milliseconds after which a key's numbers say no more than zeros: what a table may forget. */
export function limitLifeMs(rule: LimitRule): number {
  switch (rule.algorithm) {
    case "gcra":
      return (rule.windowMs / rule.limit) * rule.burst;
    case "fixed-window":
    case "count":
      return rule.windowMs;
    case "sliding-window":
      return rule.windowMs + rule.windowMs / BINS;
  }
}
