/** Takes a plugin that keeps throwing out of the path for a while, alone. */

/** This many failures... */
export const tripFailures = 5;
/** ...within this many milliseconds open the trip, for as long. */
export const tripWindowMs = 10_000;

/** 5 failures within 10 s open it for 10 s; then one call decides whether it closes. */
export class Trip {
  /** True from the opening until a call succeeded: the one field that the hot path reads. */
  tripped = false;
  private readonly now: () => number;
  private readonly failuresMs = new Float64Array(tripFailures).fill(Number.NEGATIVE_INFINITY);
  private next = 0;
  private openUntilMs = 0;

  /** @param now monotonic milliseconds */
  constructor(now: () => number) {
    this.now = now;
  }

  /** True while the plugin must not be called. After the pause one caller gets false and its result decides. */
  isOpen(): boolean {
    if (!this.tripped) return false;
    const nowMs = this.now();
    if (nowMs < this.openUntilMs) return true;
    this.openUntilMs = nowMs + tripWindowMs;
    return false;
  }

  /** A hook threw, rejected or ran out of time. */
  failed(): void {
    const nowMs = this.now();
    // the slot about to be overwritten holds the fifth failure back, this one included
    this.failuresMs[this.next] = nowMs;
    this.next = (this.next + 1) % tripFailures;
    if (this.tripped || nowMs - this.failuresMs[this.next]! <= tripWindowMs) {
      this.tripped = true;
      this.openUntilMs = nowMs + tripWindowMs;
    }
  }

  /** A hook that was called while tripped came back. */
  succeeded(): void {
    this.tripped = false;
    this.failuresMs.fill(Number.NEGATIVE_INFINITY);
  }
}
