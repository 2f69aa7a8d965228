/** The one list of balancers. */

import type { Balancer } from "./balancer.ts";
import { PeakEwma } from "./ewma.ts";
import { RoundRobin } from "./round-robin.ts";

/** Name in the configuration -> how to make one. A balancer has state: one per service. */
export const balancers = {
  ewma: (): Balancer => new PeakEwma(),
  "round-robin": (): Balancer => new RoundRobin(),
} as const satisfies Record<string, () => Balancer>;

export type BalancerName = keyof typeof balancers;

/** @param name default in the configuration: `ewma` */
export function createBalancer(name: BalancerName): Balancer {
  return balancers[name]();
}
