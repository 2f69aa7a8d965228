/** Smooth weighted round robin: exact shares over time, and no bursts on the heaviest endpoint. */

import type { Balancer, Candidate } from "./balancer.ts";

interface Turn {
  /** Credit: grows by the weight at each pick, and falls by the sum of all weights when picked. */
  credit: number;
}

/**
 * nginx's algorithm (commit 52327e0, 2012): with weights 5, 1, 1 the order is a a b a c a a.
 * Equal weights take turns without looking at the others.
 */
export class RoundRobin implements Balancer {
  readonly name = "round-robin";
  private seen: readonly Candidate[] | null = null;
  private equal = true;
  private turn = 0;

  createState(): Turn {
    return { credit: 0 };
  }

  pick<C extends Candidate>(usable: readonly C[]): C {
    if (usable !== this.seen) this.look(usable);
    if (this.equal) {
      if (this.turn >= usable.length) this.turn = 0;
      return usable[this.turn++]!;
    }
    let total = 0;
    let best = usable[0]!;
    let bestCredit = -Infinity;
    for (let i = 0; i < usable.length; i++) {
      const endpoint = usable[i]!;
      const state = endpoint.balance as Turn;
      state.credit += endpoint.weight;
      total += endpoint.weight;
      if (state.credit > bestCredit) {
        bestCredit = state.credit;
        best = endpoint;
      }
    }
    (best.balance as Turn).credit -= total;
    return best;
  }

  observe(): void {}

  latencyMs(): number {
    return 0;
  }

  private look(usable: readonly Candidate[]): void {
    this.seen = usable;
    this.equal = usable.every((endpoint) => endpoint.weight === usable[0]!.weight);
  }
}
