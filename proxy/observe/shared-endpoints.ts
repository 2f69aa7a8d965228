/** What all threads know of endpoints: health by active checks, failures in a row, ejections. */

import { SeededHash } from "./shared-hash.ts";
import { lock, unlock } from "./shared-lock.ts";

/** By active checks; unknown: not checked yet, or not checked at all. */
export const Health = { unknown: 0, healthy: 1, unhealthy: 2 } as const;
/** `in` serves; `out` is ejected; `probing` is ejected and one request is finding out. */
export const Place = { in: 0, out: 1, probing: 2 } as const;

const HEADER = 16;
const CHANGES = 0;
const LOCK = 1;
const INTS = 8;
const FLOATS = 4;
/** Rows that the main thread does not own are reused after this long. Milliseconds. */
const UNOWNED_MS = 60_000;

// ints of a row
const HASH_A = 0;
const HASH_B = 1;
const GENERATION = 2;
const OWNED = 3;
const HEALTH = 4;
const FAILURES = 5;
const TIMES = 6;
const PLACE = 7;
// floats of a row
const UNTIL = 0;
const TOUCHED = 1;
const RETURNED = 2;

export function endpointTableBytes(rows: number): number {
  return (HEADER + rows * INTS) * 4 + rows * FLOATS * 8;
}

/**
 * Rows found by the hash of service and address, so that threads need not agree on numbers first. The main thread owns
 * rows; one that it gave up, or never took, is reused when the table is full. Times are `SharedState.now`.
 */
export class EndpointTable {
  readonly ints: Int32Array;
  readonly floats: Float64Array;
  readonly rows: number;
  private readonly hash: SeededHash;

  constructor(memory: SharedArrayBuffer, rows: number, seed: readonly [number, number]) {
    this.rows = rows;
    this.ints = new Int32Array(memory, 0, HEADER + rows * INTS);
    this.floats = new Float64Array(memory, (HEADER + rows * INTS) * 4, rows * FLOATS);
    this.hash = new SeededHash(seed[0], seed[1]);
  }

  /** Moves whenever an endpoint becomes usable or unusable: whoever keeps a list compares it first. */
  get changes(): number {
    return Atomics.load(this.ints, CHANGES);
  }

  changed(): void {
    Atomics.add(this.ints, CHANGES, 1);
  }

  /** Runs `decide` while no other thread can decide about ejections. It must not throw. */
  exclusively<T>(decide: () => T): T {
    lock(this.ints, LOCK);
    const result = decide();
    unlock(this.ints, LOCK);
    return result;
  }

  /**
   * The row of an endpoint, made when there is none. A full table gives a row that only this thread sees: the endpoint
   * works, its ejection is then learned by each worker alone.
   */
  acquire(key: string, options: { readonly own: boolean; readonly nowMs: number }): EndpointRow {
    this.hash.hash(key);
    const { a, b } = this.hash;
    const index = this.exclusively(() => this.place(a, b, options));
    if (index !== -1) return new EndpointRow(this, index);
    const alone = new EndpointTable(new SharedArrayBuffer(endpointTableBytes(1)), 1, [a, b]);
    return alone.acquire(key, options);
  }

  private place(a: number, b: number, { own, nowMs }: { own: boolean; nowMs: number }): number {
    const { ints, floats } = this;
    let free = -1;
    for (let row = 0; row < this.rows; row++) {
      const at = HEADER + row * INTS;
      const used = ints[at + GENERATION] !== 0;
      if (used && ints[at + HASH_A] === a && ints[at + HASH_B] === b) {
        if (own) ints[at + OWNED] = 1;
        floats[row * FLOATS + TOUCHED] = nowMs;
        return row;
      }
      if (!used) {
        // rows are taken in order and stay taken: nothing beyond this one
        if (free === -1) free = row;
        break;
      }
      if (
        free === -1 &&
        ints[at + OWNED] === 0 &&
        floats[row * FLOATS + TOUCHED]! + UNOWNED_MS < nowMs
      )
        free = row;
    }
    if (free === -1) return -1;
    const at = HEADER + free * INTS;
    const generation = (ints[at + GENERATION]! + 1) | 1;
    ints.fill(0, at, at + INTS);
    floats.fill(0, free * FLOATS, (free + 1) * FLOATS);
    ints[at + HASH_A] = a;
    ints[at + HASH_B] = b;
    ints[at + GENERATION] = generation;
    ints[at + OWNED] = own ? 1 : 0;
    floats[free * FLOATS + TOUCHED] = nowMs;
    return free;
  }
}

/** One endpoint's row. After its reuse for another endpoint, reads say "unknown, in" and writes do nothing. */
export class EndpointRow {
  readonly table: EndpointTable;
  private readonly at: number;
  private readonly float: number;
  private readonly generation: number;

  constructor(table: EndpointTable, index: number) {
    this.table = table;
    this.at = HEADER + index * INTS;
    this.float = index * FLOATS;
    this.generation = table.ints[this.at + GENERATION]!;
  }

  get health(): number {
    return this.isOurs() ? Atomics.load(this.table.ints, this.at + HEALTH) : Health.unknown;
  }

  setHealth(health: number): void {
    if (!this.isOurs() || Atomics.exchange(this.table.ints, this.at + HEALTH, health) === health)
      return;
    this.table.changed();
  }

  get place(): number {
    return this.isOurs() ? Atomics.load(this.table.ints, this.at + PLACE) : Place.in;
  }

  /** End of the ejection, or of the wait for a probe's result. */
  get untilMs(): number {
    return this.table.floats[this.float + UNTIL]!;
  }

  /** Counts a failure; returns how many there are in a row. */
  failed(): number {
    return this.isOurs() ? Atomics.add(this.table.ints, this.at + FAILURES, 1) + 1 : 0;
  }

  /** Ends the row of failures. Writes only when there is one: the line stays shared between cores. */
  succeeded(): void {
    if (this.isOurs() && Atomics.load(this.table.ints, this.at + FAILURES) !== 0) {
      Atomics.store(this.table.ints, this.at + FAILURES, 0);
    }
  }

  get failures(): number {
    return this.isOurs() ? Atomics.load(this.table.ints, this.at + FAILURES) : 0;
  }

  /** Ejections in a row, were it ejected now: starts again at 1 after `calmMs` without one. */
  nextTimes(nowMs: number, calmMs: number): number {
    const calm = nowMs - this.table.floats[this.float + RETURNED]! > calmMs;
    return (calm ? 0 : this.table.ints[this.at + TIMES]!) + 1;
  }

  /** Ejects. Call inside {@link EndpointTable.exclusively}. */
  eject(untilMs: number, times: number): void {
    if (!this.isOurs()) return;
    this.table.ints[this.at + TIMES] = times;
    this.table.floats[this.float + UNTIL] = untilMs;
    this.table.floats[this.float + RETURNED] = untilMs;
    Atomics.store(this.table.ints, this.at + PLACE, Place.out);
    this.table.changed();
  }

  /** Takes the one probe; false: another thread has it. `untilMs`: when somebody else may try, should no result come. */
  claimProbe(nowMs: number, untilMs: number): boolean {
    return this.table.exclusively(() => {
      if (!this.isOurs() || this.place === Place.in || this.untilMs > nowMs) return false;
      this.table.floats[this.float + UNTIL] = untilMs;
      Atomics.store(this.table.ints, this.at + PLACE, Place.probing);
      this.table.changed();
      return true;
    });
  }

  /** The probe came to nothing (its caller left): another may try at once. */
  dropProbe(nowMs: number): void {
    this.table.exclusively(() => {
      if (!this.isOurs() || this.place !== Place.probing) return;
      this.table.floats[this.float + UNTIL] = nowMs;
      Atomics.store(this.table.ints, this.at + PLACE, Place.out);
      this.table.changed();
    });
  }

  /** The probe went well: back in service. */
  readmit(nowMs: number): void {
    if (!this.isOurs()) return;
    this.table.floats[this.float + RETURNED] = nowMs;
    Atomics.store(this.table.ints, this.at + FAILURES, 0);
    Atomics.store(this.table.ints, this.at + PLACE, Place.in);
    this.table.changed();
  }

  /** The main thread gives the row up. */
  disown(nowMs: number): void {
    if (!this.isOurs()) return;
    this.table.floats[this.float + TOUCHED] = nowMs;
    this.table.ints[this.at + OWNED] = 0;
  }

  private isOurs(): boolean {
    return this.table.ints[this.at + GENERATION] === this.generation;
  }
}
