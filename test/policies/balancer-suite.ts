/** What every balancer has to do, whatever its idea: run by one test file per balancer. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { Balancer, Candidate } from "../../policies/balance/balancer.ts";

export interface TestEndpoint extends Candidate {
  readonly name: string;
}

/** Endpoints `a`, `b`, ... with these weights, with their state made. */
export function endpointsOf(
  balancer: Balancer,
  weights: readonly number[],
  nowMs = 0,
): TestEndpoint[] {
  const made: TestEndpoint[] = [];
  for (const [i, weight] of weights.entries()) {
    const endpoint: TestEndpoint = {
      name: String.fromCharCode(97 + i),
      weight,
      active: 0,
      balance: null,
    };
    endpoint.balance = balancer.createState(made, nowMs);
    made.push(endpoint);
  }
  return made;
}

/** A repeatable source of 0 <= x < 1 (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** How often each name is picked in `picks` requests that take `latencyOf` ms, one after the other. */
export function shares(
  balancer: Balancer,
  endpoints: readonly TestEndpoint[],
  options: { picks: number; latencyOf: (endpoint: TestEndpoint) => number },
): Record<string, number> {
  const random = seededRandom(7);
  const counts: Record<string, number> = Object.fromEntries(endpoints.map(({ name }) => [name, 0]));
  let nowMs = 1;
  for (let i = 0; i < options.picks; i++) {
    const picked = balancer.pick(endpoints, nowMs, random);
    counts[picked.name]!++;
    nowMs += options.latencyOf(picked);
    balancer.observe(picked, options.latencyOf(picked), false, nowMs);
  }
  return counts;
}

export function balancerSuite(name: string, create: () => Balancer): void {
  describe(`balancer ${name}`, () => {
    test("has the name that the configuration uses", () => {
      assert.equal(create().name, name);
    });

    test("picks the only endpoint", () => {
      const balancer = create();
      const [only] = endpointsOf(balancer, [1]);
      for (let i = 0; i < 10; i++) assert.equal(balancer.pick([only!], i, Math.random), only);
    });

    test("uses every endpoint of equal weight about equally when all are equally fast", () => {
      const balancer = create();
      const counts = shares(balancer, endpointsOf(balancer, [1, 1, 1, 1]), {
        picks: 4000,
        latencyOf: () => 5,
      });
      for (const count of Object.values(counts))
        assert.ok(count > 800 && count < 1200, JSON.stringify(counts));
    });

    test("gives shares by weight when all are equally fast", () => {
      const balancer = create();
      const counts = shares(balancer, endpointsOf(balancer, [2, 1]), {
        picks: 3000,
        latencyOf: () => 5,
      });
      assert.ok(counts["a"]! > 1800 && counts["a"]! < 2200, JSON.stringify(counts));
    });

    test("picks only from the endpoints given, and goes on after a failure", () => {
      fc.assert(
        fc.property(
          fc.array(fc.integer({ min: 1, max: 10 }), { minLength: 1, maxLength: 8 }),
          fc.array(
            fc.record({
              mask: fc.integer({ min: 1, max: 255 }),
              failed: fc.boolean(),
              ms: fc.nat(100),
            }),
            { maxLength: 50 },
          ),
          fc.integer(),
          (weights, steps, seed) => {
            const balancer = create();
            const random = seededRandom(seed);
            const endpoints = endpointsOf(balancer, weights);
            let nowMs = 0;
            for (const step of steps) {
              const some = endpoints.filter((_, i) => (step.mask >> i) & 1);
              const usable = some.length === 0 ? endpoints : some;
              const picked = balancer.pick(usable, nowMs, random);
              assert.ok(usable.includes(picked));
              picked.active++;
              nowMs += step.ms;
              balancer.observe(picked, step.ms, step.failed, nowMs);
              if (step.ms % 2 === 0) picked.active--;
            }
          },
        ),
        { numRuns: 50 },
      );
    });

    test("takes in an endpoint that joins later", () => {
      const balancer = create();
      const endpoints = endpointsOf(balancer, [1, 1]);
      shares(balancer, endpoints, { picks: 100, latencyOf: () => 5 });
      const late: TestEndpoint = { name: "late", weight: 1, active: 0, balance: null };
      late.balance = balancer.createState(endpoints, 500);
      const counts = shares(balancer, [...endpoints, late], { picks: 900, latencyOf: () => 5 });
      assert.ok(counts["late"]! > 150 && counts["late"]! < 450, JSON.stringify(counts));
    });
  });
}
