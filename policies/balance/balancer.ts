/** The balancer interface: choose one endpoint of a set. Implementations: one file each in this folder, one line in `balancers.ts`. */

/** What a balancer sees of an endpoint. */
export interface Candidate {
  /** Relative share; > 0. */
  readonly weight: number
  /** Requests running on it from this worker. */
  active: number
  /** Whatever the balancer keeps per endpoint, made by {@link Balancer.createState}. */
  balance: unknown
}

export interface Balancer {
  readonly name: string
  createState(peers: readonly Candidate[], nowMs: number): unknown
  /**
   * @param usable endpoints that are healthy and not ejected; never empty
   * @param nowMs monotonic
   * @param random 0 <= x < 1, fresh at each call
   */
  pick(usable: readonly Candidate[], nowMs: number, random: () => number): Candidate
  /** A try ended: `latencyMs` to its response head, or to its failure. */
  observe(endpoint: Candidate, latencyMs: number, failed: boolean, nowMs: number): void
}
