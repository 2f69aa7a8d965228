/** When an endpoint is left alone, and for how long. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  defaultEjection,
  ejectionMs,
  isFailureStatus,
  mayEject,
  shouldEject,
} from "../../policies/ejection.ts";

test("the fifth failure in a row ejects", () => {
  assert.equal(shouldEject(defaultEjection, 4), false);
  assert.equal(shouldEject(defaultEjection, 5), true);
  assert.equal(shouldEject({ ...defaultEjection, consecutive: 0 }, 1000), false);
});

test("every 5xx is a failure and nothing below is", () => {
  assert.deepEqual([200, 404, 429, 499, 500, 501, 503, 599].map(isFailureStatus), [
    false,
    false,
    false,
    false,
    true,
    true,
    true,
    true,
  ]);
});

test("the last half is never ejected", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 100 }), (total) => {
      let out = 0;
      while (mayEject(defaultEjection, total, out)) out++;
      assert.equal(out, Math.floor(total / 2));
    }),
  );
});

test("an ejection doubles from 1 s to 60 s", () => {
  const times = [1, 2, 3, 4, 5, 6, 7, 8, 1000];
  const middle = times.map((n) => Math.round(ejectionMs(defaultEjection, n, 0.5)));
  assert.deepEqual(middle, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
});

test("ejections differ by up to 10 % either way", () => {
  fc.assert(
    fc.property(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (random) => {
      const ms = ejectionMs(defaultEjection, 1, random);
      assert.ok(ms >= 900 && ms <= 1100);
    }),
  );
});
