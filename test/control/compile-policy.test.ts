import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import {
  effectiveBalance,
  effectiveEjection,
  effectivePolicy,
  mergePolicies,
  policyFor,
} from "../../control/compile/policy.ts";
import { createWeightedChoice } from "../../control/compile/weighted.ts";
import type { Choice } from "../../proxy/snapshot.ts";
import { configOf } from "./loading.ts";

describe("a policy", () => {
  it("has the defaults of its mode when nobody sets anything", () => {
    const edge = effectivePolicy({}, "gateway");
    assert.equal(edge.timeoutMs, 15_000);
    assert.equal(edge.totalTimeoutMs, 0);
    assert.deepEqual(
      { ...edge.retry, on: [...edge.retry.on] },
      {
        attempts: 1,
        on: ["connect-failure", "reset-before-response", "refused-stream", "502", "503", "504"],
        backoffBaseMs: 25,
        backoffMaxMs: 250,
        budgetPct: 20,
        budgetFloorPerS: 10,
      },
    );
    assert.equal(effectivePolicy({}, "mesh-outbound").retry.attempts, 2);
    assert.equal(effectivePolicy({}, "mesh-inbound").retry.on.has("503"), false);
    assert.equal(effectiveBalance({}), "ewma");
    const { consecutive, baseMs, maxMs, maxEjectedPct } = effectiveEjection({});
    assert.deepEqual([consecutive, baseMs, maxMs, maxEjectedPct], [5, 1_000, 60_000, 50]);
  });

  it("is merged key by key, the nearest last", () => {
    const merged = mergePolicies(
      { timeoutMs: 1, retry: { attempts: 3, backoff: { baseMs: 5 }, on: ["503"] } },
      null,
      { idleTimeoutMs: 2, retry: { backoff: { maxMs: 9 } } },
      { timeoutMs: 7, retry: { on: ["502"] }, ejection: { consecutive: 2 } },
    );
    assert.deepEqual(merged, {
      timeoutMs: 7,
      idleTimeoutMs: 2,
      retry: { attempts: 3, on: ["502"], backoff: { baseMs: 5, maxMs: 9 }, budget: {} },
      ejection: { consecutive: 2 },
    });
  });

  it("goes from the default over the service to the route", async () => {
    const config = await configOf(`
services:
  a: { endpoints: [], policy: patient }
  b: { endpoints: [], policy: { timeout: 3s } }
  c: { endpoints: [] }
policies:
  default: { timeout: 1s, attemptTimeout: 500ms }
  patient: { timeout: 30s, retry: { attempts: 5, budget: { floor: 120/min } } }
`);
    const of = (service: string | null, route: string | null) =>
      effectivePolicy(policyFor(config, service, route), "gateway");
    assert.equal(of("a", null).timeoutMs, 30_000);
    assert.equal(of("a", null).attemptTimeoutMs, 500);
    assert.equal(of("a", null).retry.budgetFloorPerS, 2);
    assert.equal(of("b", null).timeoutMs, 3_000);
    assert.equal(of("c", null).timeoutMs, 1_000);
    assert.equal(of(null, null).timeoutMs, 1_000);
    assert.equal(of("b", "patient").timeoutMs, 30_000);
    assert.equal(of("b", "patient").retry.attempts, 5);
  });
});

describe("a weighted choice", () => {
  const choose = (weights: readonly number[]) => {
    const choices = weights.map((_, i) => ({ name: i }) as unknown as Choice);
    const split = createWeightedChoice(
      weights.map((weight, i) => ({ weight, choice: choices[i]! })),
    );
    return () => choices.indexOf(split.next());
  };

  it("gives each its exact share in every round", () => {
    const weights = fc
      .array(fc.nat(20), { minLength: 1, maxLength: 6 })
      .filter((list) => list.some((weight) => weight > 0));
    fc.assert(
      fc.property(weights, (list) => {
        const next = choose(list);
        const total = list.reduce((sum, weight) => sum + weight, 0);
        for (let round = 0; round < 3; round++) {
          const counts = list.map(() => 0);
          for (let i = 0; i < total; i++) counts[next()]! += 1;
          assert.deepEqual(counts, list);
        }
      }),
    );
  });

  it("spreads the small shares over the round", () => {
    const next = choose([5, 1, 1]);
    assert.deepEqual(Array.from({ length: 7 }, next), [0, 0, 1, 0, 2, 0, 0]);
  });

  it("never takes a weight of zero, and needs one above it", () => {
    const next = choose([0, 3]);
    assert.deepEqual(Array.from({ length: 4 }, next), [1, 1, 1, 1]);
    assert.throws(() => choose([0, 0]), RangeError);
  });
});
