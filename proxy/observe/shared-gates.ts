/** What runs at once, counted exactly over all threads of the process: a bounded table in shared memory. */

import type { GateSpec, Permit, SharedGate } from "../pipeline/plugin.ts";
import { SeededHash } from "./shared-hash.ts";
import { lock, unlock } from "./shared-lock.ts";

/** Keys that share a lock, and places where a key can be. */
const WAYS = 16;

/** Bytes of a table: per set a lock and its keys, per key two hash words, the sum and a count for each thread. */
export function gateTableBytes(sets: number, threads: number): number {
  return (sets + sets * WAYS * (3 + threads)) * 4;
}

/**
 * A key's hash names its set, the set's lock guards the rest. Each thread has a count of its own per key, so that what
 * a dead thread held can be given back. An entry is free when no thread has anything in it.
 */
export class GateTable {
  private readonly sets: number;
  private readonly threads: number;
  private readonly thread: number;
  private readonly locks: Int32Array;
  private readonly hashes: Int32Array;
  private readonly sums: Int32Array;
  private readonly counts: Int32Array;
  private readonly hash: SeededHash;

  /** @param seed two secret words, the same in every thread */
  constructor(
    memory: SharedArrayBuffer,
    shape: { readonly sets: number; readonly threads: number; readonly thread: number },
    seed: readonly [number, number],
  ) {
    const { sets, threads } = shape;
    const entries = sets * WAYS;
    this.sets = sets;
    this.threads = threads;
    this.thread = shape.thread;
    this.locks = new Int32Array(memory, 0, sets);
    this.hashes = new Int32Array(memory, sets * 4, entries * 2);
    this.sums = new Int32Array(memory, (sets + entries * 2) * 4, entries);
    this.counts = new Int32Array(memory, (sets + entries * 3) * 4, entries * threads);
    this.hash = new SeededHash(seed[0], seed[1]);
  }

  /**
   * One more of the key inside. Null: there are `limit` already. When all entries of its set are in use by others it
   * is let in uncounted: nobody is refused who should not be.
   */
  enter(key: string, limit: number): Permit | null {
    this.hash.hash(key);
    const { a, b } = this.hash;
    const set = (a >>> 0) % this.sets;
    lock(this.locks, set);
    const entry = this.find(set * WAYS, a, b);
    const running = entry === -1 ? 0 : this.sums[entry]!;
    if (entry !== -1 && running < limit) {
      this.counts[entry * this.threads + this.thread]! += 1;
      this.sums[entry]! += 1;
    }
    unlock(this.locks, set);
    if (running >= limit) return null;
    return new TablePermit(limit - running - 1, entry === -1 ? null : () => this.leave(set, entry));
  }

  /** A thread has died: whatever it held is free. */
  forgetThread(thread: number): void {
    for (let set = 0; set < this.sets; set++) {
      lock(this.locks, set);
      for (let entry = set * WAYS; entry < (set + 1) * WAYS; entry++) {
        if (this.sums[entry] === 0 && this.counts[entry * this.threads + thread] === 0) continue;
        this.counts[entry * this.threads + thread] = 0;
        // not by subtraction: it may have died between the two
        this.sums[entry] = this.running(entry);
      }
      unlock(this.locks, set);
    }
  }

  private leave(set: number, entry: number): void {
    const at = entry * this.threads + this.thread;
    lock(this.locks, set);
    if (this.counts[at]! > 0) {
      this.counts[at]! -= 1;
      this.sums[entry]! -= 1;
    }
    unlock(this.locks, set);
  }

  private running(entry: number): number {
    const first = entry * this.threads;
    let sum = 0;
    for (let at = first; at < first + this.threads; at++) sum += this.counts[at]!;
    return sum;
  }

  /** The key's entry, or a free one made its own; -1: all are in use. */
  private find(first: number, a: number, b: number): number {
    const { hashes } = this;
    for (let entry = first; entry < first + WAYS; entry++)
      if (hashes[entry * 2] === a && hashes[entry * 2 + 1] === b) return entry;
    for (let entry = first; entry < first + WAYS; entry++) {
      if (this.sums[entry]! > 0) continue;
      hashes[entry * 2] = a;
      hashes[entry * 2 + 1] = b;
      return entry;
    }
    return -1;
  }
}

class TablePermit implements Permit {
  readonly remaining: number;
  private release: (() => void) | null;

  constructor(remaining: number, release: (() => void) | null) {
    this.remaining = remaining;
    this.release = release;
  }

  leave(): void {
    const { release } = this;
    this.release = null;
    release?.();
  }
}

/** A {@link SharedGate} over the table. */
export class TableGate implements SharedGate {
  private readonly table: GateTable;
  private readonly spec: GateSpec;

  constructor(table: GateTable, spec: GateSpec) {
    this.table = table;
    this.spec = spec;
  }

  enter(key: string): Permit | null {
    return this.table.enter(`${this.spec.id}\0${key}`, this.spec.limit);
  }
}
