/** Rate-limit counters that are exact over all threads of the process: a bounded table in shared memory. */

import {
  limitLifeMs,
  limitStateLength,
  takeLimit,
  type LimitDecision,
  type LimitRule,
} from "../../policies/limit.ts";
import type { LimiterSpec, SharedLimiter } from "../pipeline/plugin.ts";
import { SeededHash, type HashStart } from "./shared-hash.ts";
import { lock, unlock } from "./shared-lock.ts";

/** Keys that share a lock, and places where a key can be. */
const WAYS = 32;

/** Used to this share, a key counts as used up. */
const USED_UP = 0.9;

/**
 * Bytes of a table with this many sets: per set a lock and its keys, per key two hash words, its limit, how fast its
 * use is forgiven, an expiry and the numbers.
 */
export function limitTableBytes(sets: number): number {
  const ints = sets + (sets % 2) + sets * WAYS * 4;
  return ints * 4 + sets * WAYS * (1 + limitStateLength) * 8;
}

/** A rule and the limit that it belongs to: keys of one limit make room for each other first. */
export interface OwnedRule extends LimitRule {
  /** Default 0. Odd: used-up keys of this limit make room from the oldest on. */
  readonly owner?: number;
  /** What all its keys begin with, by {@link LimitTable.start}; default: nothing. */
  readonly start?: HashStart;
}

/**
 * A set-associative table: a key's hash names its set, the set's lock guards the rest. Never grows. A new key takes an
 * entry that has expired (its numbers say no more than zeros). When none has, a key of the limit with the most keys in
 * the set gives way, so that a flood of one limit's keys forgets nothing of the others: the least used one, or the
 * newest when all are used up. So whoever is refused stays refused, and nobody is refused who should not be.
 */
export class LimitTable {
  private readonly sets: number;
  private readonly locks: Int32Array;
  private readonly hashes: Int32Array;
  private readonly owners: Int32Array;
  /** The share of the allowance that was used at the last take, by the milliseconds until it is full again. */
  private readonly slopes: Float32Array;
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
    this.owners = new Int32Array(memory, (lockWords + entries * 2) * 4, entries);
    this.slopes = new Float32Array(memory, (lockWords + entries * 3) * 4, entries);
    const floatsAt = (lockWords + entries * 4) * 4;
    this.expiry = new Float64Array(memory, floatsAt, entries);
    this.state = new Float64Array(memory, floatsAt + entries * 8, entries * limitStateLength);
    this.hash = new SeededHash(seed[0], seed[1]);
  }

  /** Entries in use at `nowMs`; walks the table: for tests and the admin API. */
  count(nowMs: number): number {
    return this.expiry.reduce((sum, at) => (at > nowMs ? sum + 1 : sum), 0);
  }

  /** Hashes once what many keys begin with. */
  start(prefix: string): HashStart {
    return this.hash.start(prefix);
  }

  /** A number for a text, the same in every thread. */
  numberOf(text: string): number {
    this.hash.hash(text);
    return this.hash.a;
  }

  /** @param nowMs the process's clock: see `SharedState.now` */
  take(rule: OwnedRule, key: string, cost: number, nowMs: number, force = false): LimitDecision {
    const { hash } = this;
    hash.hash(key, rule.start);
    const { a, b } = hash;
    const set = (a >>> 0) % this.sets;
    lock(this.locks, set);
    const entry = this.find(set * WAYS, a, b, nowMs);
    const decision = takeLimit(rule, this.state, entry * limitStateLength, cost, nowMs, force);
    const resetMs = Math.max(decision.resetMs, 1);
    const most = rule.algorithm === "gcra" ? rule.burst : rule.limit;
    this.expiry[entry] = nowMs + resetMs;
    this.slopes[entry] = (1 - decision.remaining / most) / resetMs;
    this.owners[entry] = rule.owner ?? 0;
    unlock(this.locks, set);
    return decision;
  }

  private find(first: number, a: number, b: number, nowMs: number): number {
    const { hashes, expiry } = this;
    let entry = first;
    for (let at = first; at < first + WAYS; at++) {
      if (hashes[at * 2] === a && hashes[at * 2 + 1] === b) {
        if (expiry[at]! <= nowMs) this.clear(at);
        return at;
      }
      if (expiry[at]! < expiry[entry]!) entry = at;
    }
    if (expiry[entry]! > nowMs) entry = this.leastMissed(first, nowMs);
    this.clear(entry);
    hashes[entry * 2] = a;
    hashes[entry * 2 + 1] = b;
    return entry;
  }

  /** Of a set that is full of living keys: the one to forget. */
  private leastMissed(first: number, nowMs: number): number {
    const owner = this.commonOwner(first);
    let least = -1;
    let newest = -1;
    for (let at = first; at < first + WAYS; at++) {
      if (this.owners[at] !== owner) continue;
      const used = this.usedNow(at, nowMs);
      if (least === -1 || used < this.usedNow(least, nowMs)) least = at;
      if (newest === -1 || used > this.usedNow(newest, nowMs)) newest = at;
    }
    if (this.usedNow(least, nowMs) < USED_UP) return least;
    // all used up: of most limits whoever is refused longest stays refused
    return (owner & 1) === 1 ? least : newest;
  }

  /** The share of its allowance that is used: what was used is forgiven evenly until its expiry. */
  private usedNow(entry: number, nowMs: number): number {
    return this.slopes[entry]! * (this.expiry[entry]! - nowMs);
  }

  /** The limit with the most keys in a set. */
  private commonOwner(first: number): number {
    const { owners } = this;
    let common = owners[first]!;
    let most = 0;
    // a limit with a majority is found at its first key: the rest of the set is too small for another one
    for (let at = first; at < first + WAYS - most; at++) {
      let keys = 0;
      for (let other = at; other < first + WAYS; other++) if (owners[other] === owners[at]) keys++;
      if (keys > most) {
        most = keys;
        common = owners[at]!;
      }
    }
    return common;
  }

  private clear(entry: number): void {
    this.state.fill(0, entry * limitStateLength, (entry + 1) * limitStateLength);
  }
}

/** A {@link SharedLimiter} over the table. The same `id`, algorithm and window count together, whoever asks. */
export class TableLimiter implements SharedLimiter {
  private readonly table: LimitTable;
  private readonly rule: OwnedRule;
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
    const { id, algorithm, limit, windowMs } = spec;
    this.table = table;
    const prefix = `${algorithm}\0${windowMs}\0${id}\0`;
    const owner = (table.numberOf(prefix) & ~1) | (spec.forgets === "oldest" ? 1 : 0);
    const start = table.start(prefix);
    this.rule = { algorithm, limit, windowMs, burst, owner, start };
    this.now = now;
  }

  /** A cost that is not above 0 takes nothing and shows what is left. */
  take(key: string, cost: number, force = false): LimitDecision {
    return this.table.take(this.rule, key, cost > 0 ? cost : 0, this.now(), force);
  }

  /** Milliseconds after which an unused key is forgotten. */
  get lifeMs(): number {
    return limitLifeMs(this.rule);
  }
}
