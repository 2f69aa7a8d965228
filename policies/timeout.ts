/** Deadlines: what a caller asks for, what the policy allows, and whether another try still makes sense. */

const grpcUnitMs: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1000,
  m: 1,
  u: 0.001,
  n: 0.000001,
};

/**
 * `grpc-timeout` in milliseconds: up to eight digits and a unit (gRPC over HTTP/2, "Timeout").
 * Null when it is not one.
 */
export function parseGrpcTimeout(text: string): number | null {
  const match = /^(\d{1,8})([HMSmun])$/.exec(text);
  return match === null ? null : Number(match[1]) * grpcUnitMs[match[2]!]!;
}

/** `x-envoy-expected-rq-timeout-ms` and `x-request-timeout-ms`: whole milliseconds. Null when it is not a number of at most 10 digits. */
export function parseTimeoutMs(text: string): number | null {
  return /^\d{1,10}$/.test(text) ? Number(text) : null;
}

/** `grpc-timeout` for what is left: milliseconds, at least 1, never more than was left. */
export function formatGrpcTimeout(leftMs: number): string {
  const whole = Math.max(1, Math.floor(leftMs));
  return whole <= 99_999_999 ? `${whole}m` : `${Math.min(99_999_999, Math.floor(whole / 1000))}S`;
}

/**
 * The moment after which no answer is of use: the smaller of policy and caller. 0: none.
 * @param policyMs 0: none
 * @param askedMs null: the caller asked for nothing; 0 is a deadline that has passed
 */
export function deadlineAt(nowMs: number, policyMs: number, askedMs: number | null): number {
  if (askedMs === null) return policyMs === 0 ? 0 : nowMs + policyMs;
  return nowMs + (policyMs === 0 ? askedMs : Math.min(policyMs, askedMs));
}

/**
 * When a try that starts now has to be over. 0: never.
 * @param attemptTimeoutMs 0: none
 * @param deadlineMs 0: none
 */
export function attemptDeadlineAt(
  nowMs: number,
  attemptTimeoutMs: number,
  deadlineMs: number,
): number {
  if (attemptTimeoutMs === 0) return deadlineMs;
  const own = nowMs + attemptTimeoutMs;
  return deadlineMs === 0 ? own : Math.min(own, deadlineMs);
}

/**
 * False when a try that waits `waitMs` first could not end in time: it would be work for nobody.
 * @param expectedMs what a try is known to take (the balancer's estimate); 0: unknown
 */
export function canFinish(
  nowMs: number,
  waitMs: number,
  expectedMs: number,
  deadlineMs: number,
): boolean {
  return deadlineMs === 0 || nowMs + waitMs + Math.max(expectedMs, 1) <= deadlineMs;
}
