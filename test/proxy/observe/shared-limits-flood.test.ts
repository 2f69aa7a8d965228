/** A million distinct keys: the table stays as it is, who is refused stays refused, and who is new is let in. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { SharedState } from "../../../proxy/observe/shared.ts";
import type { LimiterSpec, SharedLimiter } from "../../../proxy/pipeline/plugin.ts";

const million = 1_000_000;
const nowMs = 1_000_000;

const spec = (over: Partial<LimiterSpec>): LimiterSpec => ({
  id: "orders/default",
  algorithm: "gcra",
  limit: 5,
  burst: 5,
  windowMs: 60_000,
  ...over,
});

/** How many of a million strangers are let in, at a pace of 20 to a millisecond. */
function flood(limiter: SharedLimiter, pass: (ms: number) => void): number {
  let passed = 0;
  for (let i = 0; i < million; i++) {
    if (limiter.take(`stranger-${i}`, 1).allowed) passed++;
    if (i % 20 === 19) pass(0.001);
  }
  return passed;
}

for (const algorithm of ["gcra", "fixed-window", "sliding-window", "count"] as const) {
  test(`${algorithm}: a million strangers are let in, and nobody's limit is reset by them`, () => {
    const shared = SharedState.create();
    let time = nowMs;
    const limiter = shared.limiter(spec({ algorithm }), () => time);
    const bytes = shared.handles.limits.byteLength;
    const spent = Array.from({ length: 200 }, (_, i) => `spent-${i}`);
    for (const key of spent) for (let i = 0; i < 5; i++) limiter.take(key, 1);
    assert.equal(
      flood(limiter, (ms) => (time += ms)),
      million,
    );
    for (const key of spent) assert.equal(limiter.take(key, 1).allowed, false, key);
    assert.equal(shared.handles.limits.byteLength, bytes);
    assert.ok(shared.limits.count(time + shared.offsetMs) <= 65_536);
  });
}

test("when each of a million strangers has used up its own limit, the older ones stay refused", () => {
  const shared = SharedState.create();
  const one = spec({ limit: 1, burst: 1, windowMs: 86_400_000 });
  let time = nowMs;
  const limiter = shared.limiter(one, () => time);
  assert.equal(
    flood(limiter, (ms) => (time += ms)),
    million,
  );
  for (let i = 0; i < 10_000; i++)
    assert.equal(limiter.take(`stranger-${i}`, 1).allowed, false, String(i));
});

test("of what is remembered to be used once, a flood forgets the oldest", () => {
  const shared = SharedState.create();
  const once = spec({ limit: 1, burst: 1, windowMs: 86_400_000, forgets: "oldest" });
  let time = nowMs;
  const limiter = shared.limiter(once, () => time);
  flood(limiter, (ms) => (time += ms));
  // a set has 32 of them: of the last 30,000 hardly one has been forgotten
  let again = 0;
  for (let i = million - 30_000; i < million; i++)
    if (limiter.take(`stranger-${i}`, 1).allowed) again++;
  assert.ok(again < 300, `${again} could be used again`);
});

test("a flood of one limit's keys takes nothing from the counters of another one", () => {
  const shared = SharedState.create();
  const half = shared.limiter(spec({ id: "other/default", limit: 10, burst: 10 }), () => nowMs);
  for (let i = 0; i < 200; i++) half.take(`half-${i}`, 5);
  const spent = spec({ limit: 1, burst: 1, windowMs: 86_400_000 });
  flood(
    shared.limiter(spent, () => nowMs),
    () => {},
  );
  for (let i = 0; i < 200; i++) assert.equal(half.take(`half-${i}`, 0).remaining, 5);
});

test("a caller that goes on asking during the flood is counted all the while", () => {
  const shared = SharedState.create();
  let time = nowMs;
  const limiter = shared.limiter(spec({ limit: 600, burst: 600 }), () => time);
  let passed = 0;
  let strangers = 0;
  // ten times as often as it may, for a minute, among a million strangers
  for (let asked = 0; asked < 6000; asked++) {
    time += 10;
    if (limiter.take("greedy", 1).allowed) passed++;
    for (; strangers < (asked * million) / 6000; strangers++)
      limiter.take(`stranger-${strangers}`, 1);
  }
  assert.ok(passed <= 1201, String(passed));
});
