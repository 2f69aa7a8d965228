/** Splits a route's requests over services by weight, exactly. */

import type { Choice, WeightedChoice } from "../../proxy/snapshot.ts";

/** A choice with its share. */
export interface Weighted {
  readonly choice: Choice;
  /** >= 0; 0 never gets a request. */
  readonly weight: number;
}

/**
 * Smooth weighted round robin (nginx, 2012): after each round of as many requests as the weights add up to, every
 * service has had exactly its share, and never many in a row. One per worker and route.
 * Throws a RangeError when no weight is above 0.
 */
export function createWeightedChoice(weighted: readonly Weighted[]): WeightedChoice {
  const able = weighted.filter(({ weight }) => weight > 0);
  const only = able[0];
  if (only === undefined) throw new RangeError("no service has a weight above 0");
  const all = weighted.map(({ choice }) => choice);
  if (able.length === 1) return { all, next: () => only.choice };
  return new SmoothChoice(all, able);
}

class SmoothChoice implements WeightedChoice {
  readonly all: readonly Choice[];
  private readonly able: readonly Weighted[];
  private readonly credit: Float64Array;
  private readonly total: number;

  constructor(all: readonly Choice[], able: readonly Weighted[]) {
    this.all = all;
    this.able = able;
    this.credit = new Float64Array(able.length);
    this.total = able.reduce((sum, { weight }) => sum + weight, 0);
  }

  next(): Choice {
    const { able, credit } = this;
    let best = 0;
    for (let i = 0; i < able.length; i++) {
      credit[i]! += able[i]!.weight;
      if (credit[i]! > credit[best]!) best = i;
    }
    credit[best]! -= this.total;
    return able[best]!.choice;
  }
}
