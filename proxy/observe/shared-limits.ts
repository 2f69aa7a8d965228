/** Rate-limit counters that are exact over all threads of the process: a bounded table in shared memory. */

import {
  limitLifeMs,
  limitStateLength,
  takeLimit,
  type LimitDecision,
  type LimitRule,
} from "../../policies/limit.ts";
import type { LimiterSpec, SharedLimiter } from "../pipeline/plugin.ts";
import { SeededHash } from "./shared-hash.ts";
import { lock, unlock } from "./shared-lock.ts";

/** Keys that share a lock, and places where a key can be. */
const WAYS = 32;

/** Bytes of a table with this many sets: per set a lock and its keys, per key two hash words, an expiry and the numbers. */
export function limitTableBytes(sets: number): number {
  const ints = sets + (sets % 2) + sets * WAYS * 2;
  return ints * 4 + sets * WAYS * (1 + limitStateLength) * 8;
}

/**
 * A set-associative table: a key's hash names its set, the set's lock guards the rest. Never grows. A new key takes an
 * entry that has expired (its numbers say no more than zeros), else the one of its set that would expire first: under
 * a flood of keys the counters nearest to full allowance are forgotten, and nobody is refused who should not be.
 */
export class LimitTable {
  private readonly sets: number;
  private readonly locks: Int32Array;
  private readonly hashes: Int32Array;
  private readonly expiry: Float64Array;
  private readonly state: Float64Array;
  private readonly hash: SeededHash;

  /** @param seed two secret words, the same in every thread */
  constructor(memory: SharedArrayBuffer, sets: number, seed: readonly [number, number]) {
    const entries = sets * WAYS;
    const lockWords = sets + (sets % 2);
    this.sets = sets;
    this.locks = new Int32Array(memory, 0, sets);
    this.hashes = new Int32Array(memory, lockWords * 4, entries * 2);
    const floatsAt = (lockWords + entries * 2) * 4;
    this.expiry = new Float64Array(memory, floatsAt, entries);
    this.state = new Float64Array(memory, floatsAt + entries * 8, entries * limitStateLength);
    this.hash = new SeededHash(seed[0], seed[1]);
  }

  /** Entries in use at `nowMs`; walks the table: for tests and the admin API. */
  count(nowMs: number): number {
    return this.expiry.reduce((sum, at) => (at > nowMs ? sum + 1 : sum), 0);
  }

  /** @param nowMs the process's clock: see `SharedState.now` */
  take(rule: LimitRule, key: string, cost: number, nowMs: number, force = false): LimitDecision {
    const { hash } = this;
    hash.hash(key);
    const { a, b } = hash;
    const set = (a >>> 0) % this.sets;
    lock(this.locks, set);
    const entry = this.find(set * WAYS, a, b, nowMs);
    const decision = takeLimit(rule, this.state, entry * limitStateLength, cost, nowMs, force);
    this.expiry[entry] = nowMs + Math.max(decision.resetMs, 1);
    unlock(this.locks, set);
    return decision;
  }

  private find(first: number, a: number, b: number, nowMs: number): number {
    const { hashes, expiry } = this;
    let soonest = first;
    for (let entry = first; entry < first + WAYS; entry++) {
      if (hashes[entry * 2] === a && hashes[entry * 2 + 1] === b) {
        if (expiry[entry]! <= nowMs) this.clear(entry);
        return entry;
      }
      if (expiry[entry]! < expiry[soonest]!) soonest = entry;
    }
    this.clear(soonest);
    hashes[soonest * 2] = a;
    hashes[soonest * 2 + 1] = b;
    return soonest;
  }

  private clear(entry: number): void {
    this.state.fill(0, entry * limitStateLength, (entry + 1) * limitStateLength);
  }
}

/** A {@link SharedLimiter} over the table. The same `id`, algorithm and window count together, whoever asks. */
export class TableLimiter implements SharedLimiter {
  private readonly table: LimitTable;
  private readonly rule: LimitRule;
  private readonly prefix: string;
  private readonly now: () => number;

  /** Throws a RangeError when the spec makes no sense: it comes from a validated configuration. */
  constructor(table: LimitTable, spec: LimiterSpec, now: () => number) {
    const burst = spec.burst ?? spec.limit;
    for (const [name, value] of Object.entries({
      limit: spec.limit,
      windowMs: spec.windowMs,
      burst,
    })) {
      if (!(value > 0 && Number.isFinite(value)))
        throw new RangeError(`limiter ${spec.id}: ${name} must be above 0`);
    }
    this.table = table;
    this.rule = { algorithm: spec.algorithm, limit: spec.limit, windowMs: spec.windowMs, burst };
    this.prefix = `${spec.algorithm}\0${spec.windowMs}\0${spec.id}\0`;
    this.now = now;
  }

  /** A cost that is not above 0 takes nothing and shows what is left. */
  take(key: string, cost: number, force = false): LimitDecision {
    return this.table.take(this.rule, this.prefix + key, cost > 0 ? cost : 0, this.now(), force);
  }

  /** Milliseconds after which an unused key is forgotten. */
  get lifeMs(): number {
    return limitLifeMs(this.rule);
  }
}
