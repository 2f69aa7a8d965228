/** The balancer interface: choose one endpoint of a set. Implementations: one file each in this folder, one line in `balancers.ts`. */

/** What a balancer sees of an endpoint. */
export interface Candidate {
  /** Relative share; > 0. */
  readonly weight: number;
  /** Requests running on it from this worker. */
  active: number;
  /** Whatever the balancer keeps per endpoint, made by {@link Balancer.createState}. */
  balance: unknown;
}

export interface Balancer {
  readonly name: string;
  /** State of a new endpoint; `peers` are the endpoints that have one already. */
  createState(peers: readonly Candidate[], nowMs: number): unknown;
  /**
   * @param usable endpoints that are healthy and not ejected; never empty, and never changed in place: the same array
   *   means the same endpoints with the same weights
   * @param nowMs monotonic
   * @param random 0 <= x < 1, fresh at each call
   */
  pick<C extends Candidate>(usable: readonly C[], nowMs: number, random: () => number): C;
  /** A try ended: `latencyMs` to its response head, or to its failure. */
  observe(endpoint: Candidate, latencyMs: number, failed: boolean, nowMs: number): void;
  /** The balancer's estimate of the time to a response head in milliseconds; 0 when it keeps none. */
  latencyMs(endpoint: Candidate): number;
}
