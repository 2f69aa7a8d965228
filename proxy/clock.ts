/** Time for the data path: one coarse wheel instead of a timer per request. */

import { reportBug } from "./bugs.ts";

/** Milliseconds between two turns of the wheel: a timeout fires at most this much late, never early. */
export const tickMs = 10;

/** So long between two turns: the process was stopped, the machine suspended, or a plugin computed. */
const standstillMs = 100;

const SLOTS = 1024;

let inEvent = false;
let eventMs = -1;

/**
 * Monotonic milliseconds. While a socket's bytes are being handled this is the moment of the first question: one request
 * asks ten times within a few microseconds.
 */
export function now(): number {
  if (!inEvent) return performance.now();
  if (eventMs < 0) eventMs = performance.now();
  return eventMs;
}

/** From here to {@link endEvent}, {@link now} stands still. */
export function beginEvent(): void {
  inEvent = true;
  eventMs = -1;
}

export function endEvent(): void {
  inEvent = false;
}

/** Something that can be armed on a {@link Wheel}. Embed or extend it: arming allocates nothing. */
export abstract class Timed {
  /** Monotonic ms at which it is due; 0: not armed. */
  dueMs = 0;
  next: Timed | null = null;
  prev: Timed | null = null;
  slot = -1;
  abstract onDue(nowMs: number): void;
}

/** A hashed timer wheel (Varghese and Lauck, 1987): arm and disarm are O(1). */
export class Wheel {
  private readonly slots: (Timed | null)[] = Array.from({ length: SLOTS }, () => null);
  private turn = 0;
  private armed = 0;
  private timer: NodeJS.Timeout | null = null;
  private isRunning = false;
  /** The turn that the timer waits for. */
  private wakeTurn = Infinity;
  private readonly now: () => number;

  /** @param now monotonic milliseconds; tests pass their own and call {@link advance} */
  constructor(now: () => number = () => performance.now()) {
    this.now = now;
    this.turn = Math.floor(now() / tickMs);
  }

  /** Number of armed entries: for leak tests. */
  get size(): number {
    return this.armed;
  }

  /** Starts turning, and sleeps while nothing is due; the timer never keeps the process alive. */
  start(): void {
    this.isRunning = true;
    this.sleep();
  }

  stop(): void {
    this.isRunning = false;
    this.wakeAt(Infinity);
  }

  /** Arms or re-arms; `dueMs` on the wheel's clock. */
  arm(entry: Timed, dueMs: number): void {
    if (entry.slot !== -1) this.unlink(entry);
    entry.dueMs = dueMs;
    const turn = Math.max(Math.ceil(dueMs / tickMs), this.turn + 1);
    const slot = turn % SLOTS;
    const head = this.slots[slot]!;
    entry.slot = slot;
    entry.prev = null;
    entry.next = head;
    if (head !== null) head.prev = entry;
    this.slots[slot] = entry;
    this.armed++;
    if (turn < this.wakeTurn && this.isRunning) this.wakeAt(turn);
  }

  disarm(entry: Timed): void {
    if (entry.slot !== -1) this.unlink(entry);
    entry.dueMs = 0;
  }

  /** Until the next slot with an entry in it, which may be there for a later lap. */
  private sleep(): void {
    if (!this.isRunning) return;
    let turn = this.armed === 0 ? Infinity : this.turn + 1;
    if (turn !== Infinity) while (this.slots[turn % SLOTS] === null) turn++;
    this.wakeAt(turn);
  }

  private wakeAt(turn: number): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    this.wakeTurn = turn;
    if (turn === Infinity) return;
    const waitMs = Math.min(turn * tickMs - this.now(), SLOTS * tickMs);
    this.timer = setTimeout(() => this.wake(), waitMs).unref();
  }

  /** After a standstill what arrived meanwhile is read first: timers come before sockets in a turn of the event loop. */
  private wake(): void {
    const nowMs = this.now();
    if (nowMs - this.wakeTurn * tickMs < standstillMs) this.turnTo(nowMs);
    else setImmediate(() => this.turnTo(this.now()));
  }

  private turnTo(nowMs: number): void {
    this.advance(nowMs);
    this.sleep();
  }

  /** Fires what is due at `nowMs`. */
  advance(nowMs: number): void {
    const target = Math.floor(nowMs / tickMs);
    if (target - this.turn > SLOTS) this.turn = target - SLOTS;
    while (this.turn < target) {
      this.turn++;
      let entry: Timed | null = this.slots[this.turn % SLOTS]!;
      while (entry !== null) {
        const next: Timed | null = entry.next;
        if (entry.dueMs <= nowMs) {
          this.unlink(entry);
          entry.dueMs = 0;
          try {
            entry.onDue(nowMs);
          } catch (error) {
            reportBug(error);
          }
          // onDue may have changed this slot: walk it again from its head
          entry = this.slots[this.turn % SLOTS] ?? null;
        } else entry = next;
      }
    }
  }

  private unlink(entry: Timed): void {
    if (entry.prev === null) this.slots[entry.slot] = entry.next;
    else entry.prev.next = entry.next;
    if (entry.next !== null) entry.next.prev = entry.prev;
    entry.next = entry.prev = null;
    entry.slot = -1;
    this.armed--;
  }
}
