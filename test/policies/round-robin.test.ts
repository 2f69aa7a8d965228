/** Smooth weighted round robin beyond the shared suite: exact order and exact shares. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { RoundRobin } from "../../policies/balance/round-robin.ts";
import { balancerSuite, endpointsOf } from "./balancer-suite.ts";

balancerSuite("round-robin", () => new RoundRobin());

test("weights 5, 1, 1 give nginx's smooth order", () => {
  const balancer = new RoundRobin();
  const endpoints = endpointsOf(balancer, [5, 1, 1]);
  const order = Array.from({ length: 7 }, () => balancer.pick(endpoints).name);
  assert.equal(order.join(""), "aabacaa");
});

test("equal weights take turns", () => {
  const balancer = new RoundRobin();
  const endpoints = endpointsOf(balancer, [1, 1, 1]);
  const order = Array.from({ length: 6 }, () => balancer.pick(endpoints).name);
  assert.equal(order.join(""), "abcabc");
});

test("over each full round every endpoint is picked exactly weight times", () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 6 }),
      (weights) => {
        const balancer = new RoundRobin();
        const endpoints = endpointsOf(balancer, weights);
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        for (let round = 0; round < 3; round++) {
          const counts = new Map<string, number>();
          for (let i = 0; i < total; i++) {
            const { name } = balancer.pick(endpoints);
            counts.set(name, (counts.get(name) ?? 0) + 1);
          }
          for (const { name, weight } of endpoints) assert.equal(counts.get(name), weight);
        }
      },
    ),
  );
});
