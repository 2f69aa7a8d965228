/** Peak EWMA with the power of two choices: the endpoint that would answer first, without herding on it. */

import type { Balancer, Candidate } from "./balancer.ts";

/** Time after which an observation counts 1/e. Linkerd and Finagle use the same 10 s. */
export const decayMs = 10_000;

/** A failure counts as at least this slow, so that an endpoint that refuses at once never looks fast. Milliseconds. */
const failureFloorMs = 10;
const failureCeilingMs = 10_000;

interface Score {
  ewmaMs: number;
  stampMs: number;
}

/**
 * Cost of an endpoint: moving average of its latency x (requests running on it + 1). A slower answer raises the average
 * to itself at once (the peak), a faster one pulls it down over {@link decayMs}; an idle endpoint's average fades, so
 * that one slow answer does not banish it. Sources: Finagle `PeakEwma.scala`; Mitzenmacher, The Power of Two Choices, 2001.
 */
export class PeakEwma implements Balancer {
  readonly name = "ewma";
  private seen: readonly Candidate[] | null = null;
  private equal = true;
  private total = 0;

  /** A new endpoint starts at its peers' median: neither flooded nor starved. */
  createState(peers: readonly Candidate[], nowMs: number): Score {
    const scores = peers.map((peer) => faded(peer.balance as Score, nowMs)).sort((a, b) => a - b);
    return { ewmaMs: scores[scores.length >> 1] ?? 0, stampMs: nowMs };
  }

  pick<C extends Candidate>(usable: readonly C[], nowMs: number, random: () => number): C {
    const count = usable.length;
    if (count === 1) return usable[0]!;
    if (usable !== this.seen) this.look(usable);
    const first = this.equal ? Math.floor(random() * count) : this.byWeight(usable, random());
    let second = Math.floor(random() * (count - 1));
    if (second >= first) second++;
    const a = usable[first]!;
    const b = usable[second]!;
    const costA = cost(a, nowMs);
    const costB = cost(b, nowMs);
    if (a.weight === b.weight) return costB < costA ? b : a;
    // unequal weights: equal costs share by weight; one that costs more gets the square less
    const shareA = a.weight * costB * costB;
    const shareB = b.weight * costA * costA;
    return random() * (shareA + shareB) < shareA ? a : b;
  }

  observe(endpoint: Candidate, latencyMs: number, failed: boolean, nowMs: number): void {
    const score = endpoint.balance as Score;
    const before = faded(score, nowMs);
    let seenMs = latencyMs;
    if (failed)
      seenMs = Math.min(Math.max(latencyMs, score.ewmaMs * 2, failureFloorMs), failureCeilingMs);
    if (seenMs >= score.ewmaMs) score.ewmaMs = seenMs;
    else score.ewmaMs = before + seenMs * (1 - fade(score, nowMs));
    score.stampMs = Math.max(score.stampMs, nowMs);
  }

  latencyMs(endpoint: Candidate): number {
    return (endpoint.balance as Score).ewmaMs;
  }

  private look(usable: readonly Candidate[]): void {
    this.seen = usable;
    this.equal = usable.every((endpoint) => endpoint.weight === usable[0]!.weight);
    this.total = usable.reduce((sum, endpoint) => sum + endpoint.weight, 0);
  }

  private byWeight(usable: readonly Candidate[], random: number): number {
    let left = random * this.total;
    for (let i = 0; i < usable.length; i++) {
      left -= usable[i]!.weight;
      if (left < 0) return i;
    }
    return usable.length - 1;
  }
}

function fade(score: Score, nowMs: number): number {
  return nowMs > score.stampMs ? Math.exp((score.stampMs - nowMs) / decayMs) : 1;
}

function faded(score: Score, nowMs: number): number {
  return score.ewmaMs * fade(score, nowMs);
}

/** Never 0, so that requests running count before the first answer has come. */
function cost(endpoint: Candidate, nowMs: number): number {
  return (faded(endpoint.balance as Score, nowMs) + 0.001) * (endpoint.active + 1);
}
