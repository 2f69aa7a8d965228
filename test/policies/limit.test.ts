/** Rate limits never let through more than they say, for any interleaving and any clock. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { limitLifeMs, limitStateLength, takeLimit, type LimitRule } from "../../policies/limit.ts";

const rule = (over: Partial<LimitRule> = {}): LimitRule => ({
  algorithm: "gcra",
  limit: 5,
  windowMs: 60_000,
  burst: 5,
  ...over,
});
const algorithms = ["gcra", "fixed-window", "sliding-window"] as const;
const fresh = (): Float64Array => new Float64Array(limitStateLength);

/** Requests (cost 1) at these moments: the moments of those allowed. */
function allowedAt(one: LimitRule, moments: readonly number[]): number[] {
  const state = fresh();
  return moments.filter((ms) => takeLimit(one, state, 0, 1, ms).allowed);
}

for (const algorithm of algorithms) {
  describe(algorithm, () => {
    test("exactly the limit passes at one instant", () => {
      fc.assert(
        fc.property(
          fc.integer({ min: 1, max: 2000 }),
          fc.integer({ min: 1, max: 100_000_000 }),
          fc.double({ min: 1, max: 1e12, noNaN: true }),
          (limit, windowMs, nowMs) => {
            const moments = Array.from({ length: limit + 3 }, () => nowMs);
            assert.equal(
              allowedAt(rule({ algorithm, limit, burst: limit, windowMs }), moments).length,
              limit,
            );
          },
        ),
        { numRuns: 50 },
      );
    });

    test("says what is left and when it is full again", () => {
      const state = fresh();
      const one = rule({ algorithm });
      const left = Array.from({ length: 6 }, () => takeLimit(one, state, 0, 1, 60_000 * 1000));
      assert.deepEqual(
        left.map(({ remaining }) => remaining),
        [4, 3, 2, 1, 0, 0],
      );
      assert.deepEqual(
        left.map(({ allowed }) => allowed),
        [true, true, true, true, true, false],
      );
      assert.ok(left[5]!.retryAfterMs > 0 && left[5]!.retryAfterMs <= left[5]!.resetMs);
      assert.ok(left.every(({ limit }) => limit === 5));
    });

    test("is allowed after retryAfterMs, and not a tenth of a unit before", () => {
      fc.assert(
        fc.property(
          fc.integer({ min: 1, max: 50 }),
          fc.array(fc.nat(2000), { maxLength: 100 }),
          (limit, waits) => {
            const one = rule({ algorithm, limit, burst: limit, windowMs: 10_000 });
            const state = fresh();
            let nowMs = 1_000_000;
            for (const wait of waits) {
              nowMs += wait;
              const decision = takeLimit(one, state, 0, 1, nowMs);
              if (decision.allowed) continue;
              const early = takeLimit(
                one,
                state.slice(),
                0,
                1,
                nowMs + decision.retryAfterMs * 0.9,
              );
              const then = takeLimit(
                one,
                state.slice(),
                0,
                1,
                nowMs + decision.retryAfterMs + 0.001,
              );
              assert.equal(early.allowed, false);
              assert.equal(then.allowed, true);
            }
          },
        ),
      );
    });

    test("after resetMs the state says no more than zeros", () => {
      fc.assert(
        fc.property(fc.array(fc.nat(3000), { minLength: 1, maxLength: 60 }), (waits) => {
          const one = rule({ algorithm, limit: 7, burst: 7, windowMs: 9000 });
          const state = fresh();
          let nowMs = 1_000_000;
          let resetMs = 0;
          for (const wait of waits) resetMs = takeLimit(one, state, 0, 1, (nowMs += wait)).resetMs;
          assert.ok(resetMs <= limitLifeMs(one) + 1e-6);
          const later = Array.from({ length: 8 }, () => nowMs + resetMs + 0.001);
          assert.equal(later.filter((ms) => takeLimit(one, state, 0, 1, ms).allowed).length, 7);
        }),
      );
    });

    test("a cost of 0 takes nothing and a cost above the limit never passes", () => {
      const state = fresh();
      const one = rule({ algorithm });
      assert.equal(takeLimit(one, state, 0, 0, 1e6).remaining, 5);
      const refused = takeLimit(one, state, 0, 6, 1e6);
      assert.equal(refused.allowed, false);
      assert.ok(Number.isFinite(refused.retryAfterMs) && refused.retryAfterMs > 0);
      assert.equal(takeLimit(one, state, 0, 5, 1e6).allowed, true);
    });

    test("a clock that steps back gives nothing back", () => {
      fc.assert(
        fc.property(fc.array(fc.integer({ min: -5000, max: 100 }), { maxLength: 100 }), (steps) => {
          let nowMs = 1e9;
          const moments = steps.map((step) => (nowMs += step));
          const spanMs = Math.max(0, Math.max(...moments, 1e9) - 1e9);
          const passed = allowedAt(rule({ algorithm, windowMs: 1e8 }), moments).length;
          assert.ok(passed <= 5 + Math.ceil((spanMs / 1e8) * 5), `${passed} passed`);
        }),
      );
    });
  });
}

const walk = fc.array(fc.oneof(fc.constant(0), fc.nat(30), fc.nat(3000)), {
  minLength: 1,
  maxLength: 300,
});

test("gcra: in any span no more than the burst and what the rate refills", () => {
  fc.assert(
    fc.property(
      walk,
      fc.integer({ min: 1, max: 40 }),
      fc.integer({ min: 1, max: 40 }),
      (waits, limit, burst) => {
        const one = rule({ limit, burst, windowMs: 1000 });
        let nowMs = 5e6;
        const passed = allowedAt(
          one,
          waits.map((wait) => (nowMs += wait)),
        );
        for (let i = 0; i < passed.length; i++) {
          for (let j = i; j < passed.length; j++) {
            const refilled = ((passed[j]! - passed[i]!) / 1000) * limit;
            assert.ok(j - i + 1 <= burst + refilled + 1e-3);
          }
        }
      },
    ),
    { numRuns: 60 },
  );
});

test("sliding window: in any span of one window no more than the limit", () => {
  fc.assert(
    fc.property(walk, fc.integer({ min: 1, max: 40 }), (waits, limit) => {
      let nowMs = 5e6;
      const one = rule({ algorithm: "sliding-window", limit, windowMs: 1000 });
      const passed = allowedAt(
        one,
        waits.map((wait) => (nowMs += wait)),
      );
      for (const [i, start] of passed.entries()) {
        const inside = passed.slice(i).filter((ms) => ms - start < 1000).length;
        assert.ok(inside <= limit);
      }
    }),
    { numRuns: 60 },
  );
});

test("fixed window: in each window no more than the limit", () => {
  fc.assert(
    fc.property(walk, fc.integer({ min: 1, max: 40 }), (waits, limit) => {
      let nowMs = 5e6;
      const one = rule({ algorithm: "fixed-window", limit, windowMs: 1000 });
      const passed = allowedAt(
        one,
        waits.map((wait) => (nowMs += wait)),
      );
      const windows = Map.groupBy(passed, (ms) => Math.floor(ms / 1000));
      for (const inside of windows.values()) assert.ok(inside.length <= limit);
    }),
    { numRuns: 60 },
  );
});

test("gcra: a burst above the limit is allowed once, then the rate holds", () => {
  const one = rule({ limit: 10, windowMs: 1000, burst: 30 });
  const state = fresh();
  const count = (ms: number): number =>
    Array.from({ length: 100 }, () => takeLimit(one, state, 0, 1, ms)).filter(
      ({ allowed }) => allowed,
    ).length;
  assert.equal(count(1e6), 30);
  assert.equal(count(1e6 + 1000), 10);
});

test("several keys live side by side in one array", () => {
  const state = new Float64Array(limitStateLength * 2);
  for (const at of [0, limitStateLength]) {
    const passed = Array.from({ length: 9 }, () =>
      takeLimit(rule({ algorithm: "sliding-window" }), state, at, 1, 1e6),
    );
    assert.equal(passed.filter(({ allowed }) => allowed).length, 5);
  }
});
