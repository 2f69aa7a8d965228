/** Retries stay a fraction of requests. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { RetryBudget } from "../../policies/budget.ts";

const rule = { budgetPct: 20, budgetFloorPerS: 10 };
const bare = { budgetPct: 20, budgetFloorPerS: 0 };

function takeAll(budget: RetryBudget, one: typeof rule, nowMs: number): number {
  let taken = 0;
  while (taken < 100_000 && budget.takeRetry(one, nowMs)) taken++;
  return taken;
}

test("without requests the floor of ten seconds is there and no more", () => {
  assert.equal(takeAll(new RetryBudget({ share: 1 }), rule, 5000), 100);
});

test("one fifth of the requests of the last ten seconds comes on top", () => {
  const budget = new RetryBudget({ share: 1 });
  for (let i = 0; i < 1000; i++) budget.request(i);
  assert.equal(takeAll(budget, bare, 1000), 200);
  assert.equal(takeAll(budget, rule, 1000), 100);
});

test("what was not used is gone after ten seconds", () => {
  const budget = new RetryBudget({ share: 1 });
  for (let i = 0; i < 1000; i++) budget.request(i);
  assert.equal(takeAll(budget, bare, 11_000), 0);
});

test("what was used comes back after ten seconds", () => {
  const budget = new RetryBudget({ share: 1 });
  assert.equal(takeAll(budget, rule, 0), 100);
  assert.equal(takeAll(budget, rule, 9_999), 0);
  assert.equal(takeAll(budget, rule, 10_000), 100);
});

test("the floor is shared by the workers", () => {
  assert.equal(takeAll(new RetryBudget({ share: 1 / 4 }), rule, 0), 25);
});

test("a floor shared by very many workers still lets each retry once", () => {
  assert.equal(
    takeAll(new RetryBudget({ share: 1 / 128 }), { budgetPct: 0, budgetFloorPerS: 1 }, 0),
    1,
  );
});

test("no percentage and no floor is no retry", () => {
  assert.equal(takeAll(new RetryBudget({ share: 1 }), { budgetPct: 0, budgetFloorPerS: 0 }, 0), 0);
});

test("retries never pass the share, whatever the order of calls", () => {
  const step = fc.record({
    kind: fc.constantFrom("request", "retry"),
    waitMs: fc.integer({ min: 0, max: 3000 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const budget = new RetryBudget({ share: 1 });
      let nowMs = 0;
      let requests = 0;
      let retries = 0;
      for (const { kind, waitMs } of steps) {
        nowMs += waitMs;
        if (kind === "request") {
          requests++;
          budget.request(nowMs);
        } else if (budget.takeRetry(bare, nowMs)) retries++;
      }
      assert.ok(retries <= requests * 0.2 + 1e-9);
    }),
  );
});
