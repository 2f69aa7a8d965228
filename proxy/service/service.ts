/** A service: a named set of endpoints with its balancer, budget and way to dial. A live object that outlives snapshots. */
export interface Service {
  readonly name: string
}
