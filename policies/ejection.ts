/** Decides when an endpoint that keeps failing is left alone, and for how long. */

export interface EjectionPolicy {
  /** Failures in a row that eject; 0: never. Default 5. */
  readonly consecutive: number;
  /** First ejection; each further one doubles it. Default 1 s. */
  readonly baseMs: number;
  /** Default 60 s. */
  readonly maxMs: number;
  /** At most this share of a service's endpoints may be out. Default 50: the last half always serves. */
  readonly maxEjectedPct: number;
}

/** CONTRACT section 2. */
export const defaultEjection: EjectionPolicy = {
  consecutive: 5,
  baseMs: 1000,
  maxMs: 60_000,
  maxEjectedPct: 50,
};

/** Any 5xx counts, 500 included (it is not retried, but it is the endpoint's failure). */
export function isFailureStatus(status: number): boolean {
  return status >= 500;
}

/** True when so many failures in a row ask for an ejection. */
export function shouldEject(policy: EjectionPolicy, consecutive: number): boolean {
  return policy.consecutive > 0 && consecutive >= policy.consecutive;
}

/**
 * The panic threshold: true when one more may go.
 * @param total endpoints of the service
 * @param out of them, unhealthy or ejected already
 */
export function mayEject(policy: EjectionPolicy, total: number, out: number): boolean {
  return (out + 1) * 100 <= total * policy.maxEjectedPct;
}

/**
 * Milliseconds of the n-th ejection in a row, +-10 % so that endpoints that failed together do not come back together.
 * @param times ejections in a row, this one included: 1 or more
 * @param random 0 <= x < 1
 */
export function ejectionMs(policy: EjectionPolicy, times: number, random: number): number {
  const plain = policy.baseMs * 2 ** Math.min(times - 1, 30);
  return Math.min(plain, policy.maxMs) * (0.9 + 0.2 * random);
}
