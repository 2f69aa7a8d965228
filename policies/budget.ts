/** The retry budget of a service: retries stay a fraction of requests, so that they never become the outage. */

const BINS = 10;
const BIN_MS = 1000;

export interface BudgetRule {
  /** Retries per 100 requests of the last 10 s. */
  readonly budgetPct: number;
  /** Retries per second that are allowed whatever the number of requests. */
  readonly budgetFloorPerS: number;
}

/** Counts over the last 10 s in bins of one second (the window of Linkerd's and Finagle's budgets). */
export class RetryBudget {
  private readonly requests = new Float64Array(BINS);
  private readonly retries = new Float64Array(BINS);
  private bin = 0;
  private requestsSum = 0;
  private retriesSum = 0;
  /** This budget's part of the floor: 1 / workers. */
  private readonly share: number;

  constructor(options: { readonly share: number }) {
    this.share = options.share;
  }

  /** A request begins (its first try). */
  request(nowMs: number): void {
    this.advance(nowMs);
    this.requests[this.bin % BINS]! += 1;
    this.requestsSum += 1;
  }

  /** Takes one retry; false: the budget is spent. */
  takeRetry(rule: BudgetRule, nowMs: number): boolean {
    this.advance(nowMs);
    const floor = (rule.budgetFloorPerS * this.share * BINS * BIN_MS) / 1000;
    const allowed = (this.requestsSum * rule.budgetPct) / 100 + floor;
    if (this.retriesSum + 1 > Math.max(allowed, rule.budgetFloorPerS > 0 ? 1 : 0) + 1e-9)
      return false;
    this.retries[this.bin % BINS]! += 1;
    this.retriesSum += 1;
    return true;
  }

  private advance(nowMs: number): void {
    const target = Math.floor(nowMs / BIN_MS);
    if (target <= this.bin) return;
    if (target - this.bin >= BINS) {
      this.requests.fill(0);
      this.retries.fill(0);
      this.requestsSum = 0;
      this.retriesSum = 0;
      this.bin = target;
      return;
    }
    while (this.bin < target) {
      this.bin++;
      const i = this.bin % BINS;
      this.requestsSum -= this.requests[i]!;
      this.retriesSum -= this.retries[i]!;
      this.requests[i] = 0;
      this.retries[i] = 0;
    }
  }
}
