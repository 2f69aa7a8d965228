/** Who was refused by which limit lately, over all workers: for `GET /limits` and `weft limits top`. */

import type { RefusedCaller } from "../control/admin/source.ts";

/** Callers kept; those refused least lately go first. */
const callerLimit = 2000;
/** How long a caller is shown after it may come back. Milliseconds. */
const shownMs = 60_000;

export class RefusedCallers {
  private readonly callers = new Map<string, RefusedCaller>();
  private readonly wallNow: () => number;

  constructor(wallNow: () => number = Date.now) {
    this.wallNow = wallNow;
  }

  add(callers: readonly RefusedCaller[]): void {
    for (const one of callers) {
      const key = `${one.route}\n${one.policy}\n${one.caller}`;
      const times = (this.callers.get(key)?.times ?? 0) + one.times;
      this.callers.delete(key);
      this.callers.set(key, { ...one, times });
    }
    for (const key of this.callers.keys()) {
      if (this.callers.size <= callerLimit) break;
      this.callers.delete(key);
    }
  }

  /** The most refused first. */
  list(): RefusedCaller[] {
    const longAgo = this.wallNow() - shownMs;
    for (const [key, one] of this.callers) if (one.untilMs < longAgo) this.callers.delete(key);
    return [...this.callers.values()].toSorted((a, b) => b.times - a.times);
  }
}
