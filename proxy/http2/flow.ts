/** Flow control (RFC 9113 section 5.2): how much the other side may still send, and what we may grant it. */

import { defaultWindowBytes } from "./frames.ts";

/** What all windows of a thread may promise beyond the protocol's default, in bytes. */
export class WindowBudget {
  readonly limitBytes: number;
  private usedBytes = 0;

  /** @param limitBytes default 64 MiB: sixteen connections at full speed over a long line, thousands over a short one */
  constructor(limitBytes: number = 64 * 1024 * 1024) {
    this.limitBytes = limitBytes;
  }

  get used(): number {
    return this.usedBytes;
  }

  /** Takes so many bytes, or none. */
  claim(bytes: number): boolean {
    if (this.usedBytes + bytes > this.limitBytes) return false;
    this.usedBytes += bytes;
    return true;
  }

  release(bytes: number): void {
    this.usedBytes -= bytes;
  }
}

/** Shared by the connections of this thread. */
export const threadBudget = new WindowBudget();

/** How far windows grow (node.md, bug 29: 64 KiB windows are 20 times slower over a long line). */
export const streamWindowMax = 1024 * 1024;
export const connectionWindowMax = 16 * 1024 * 1024;

/**
 * The window that we grant. It starts at what the protocol gives and doubles, while its bytes are consumed as they
 * come and the budget lasts: nobody who is slow to take bytes gets to hold many.
 */
export class ReceiveWindow {
  private readonly budget: WindowBudget;
  private readonly maxBytes: number;
  private readonly baseBytes: number;
  /** What is granted in full. */
  private sizeBytes: number;
  /** What the other side may still send. */
  private leftBytes: number;
  /** Consumed and not yet granted again. */
  private spentBytes = 0;
  private grows = true;

  constructor(budget: WindowBudget, maxBytes: number, baseBytes: number = defaultWindowBytes) {
    this.budget = budget;
    this.maxBytes = maxBytes;
    this.baseBytes = baseBytes;
    this.sizeBytes = baseBytes;
    this.leftBytes = baseBytes;
  }

  get size(): number {
    return this.sizeBytes;
  }

  /** Bytes have arrived. False: more than granted (FLOW_CONTROL_ERROR). */
  receive(bytes: number): boolean {
    this.leftBytes -= bytes;
    return this.leftBytes >= 0;
  }

  /** Bytes have been passed on. @returns what to grant now by WINDOW_UPDATE; 0: nothing yet */
  consume(bytes: number): number {
    this.spentBytes += bytes;
    if (this.spentBytes * 2 < this.sizeBytes) return 0;
    return this.grant();
  }

  /** Grants what is spent, however little: after a pause. */
  grant(): number {
    let increment = this.spentBytes;
    if (increment === 0) return 0;
    this.spentBytes = 0;
    if (this.grows && this.sizeBytes < this.maxBytes) {
      const more = Math.min(this.sizeBytes, this.maxBytes - this.sizeBytes);
      if (this.budget.claim(more)) {
        this.sizeBytes += more;
        increment += more;
      }
    }
    this.grows = true;
    this.leftBytes += increment;
    return increment;
  }

  /** Whoever takes the bytes is slower than whoever sends them: a larger window would only hold more of them. */
  stopGrowing(): void {
    this.grows = false;
  }

  /** Gives back what was taken from the budget; once. */
  release(): void {
    this.budget.release(this.sizeBytes - this.baseBytes);
    this.sizeBytes = this.baseBytes;
  }
}

/** Frames and resets that cost us and bring nothing: a bucket that floods empty (CVE-2019-9512 ff., CVE-2023-44487). */
export class FloodGuard {
  private readonly capacity: number;
  private readonly perSecond: number;
  private tokens: number;
  private filledMs: number;

  /** @param capacity how many at once @param perSecond how many lastingly */
  constructor(capacity: number, perSecond: number, nowMs: number) {
    this.capacity = capacity;
    this.perSecond = perSecond;
    this.tokens = capacity;
    this.filledMs = nowMs;
  }

  /** Useful work earns back. */
  earn(tokens: number): void {
    if (this.tokens < this.capacity) this.tokens += tokens;
  }

  /** True when there was one left; the clock is asked only when there is not. */
  spend(now: () => number): boolean {
    if (--this.tokens >= 0) return true;
    const nowMs = now();
    const earned = Math.floor(((nowMs - this.filledMs) / 1000) * this.perSecond);
    if (earned < 1) return false;
    this.filledMs = nowMs;
    this.tokens = Math.min(this.capacity, earned) - 1;
    return true;
  }
}
