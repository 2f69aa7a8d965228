/** Limits that are exact over threads, in a table that never grows. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import fc from "fast-check";
import { LimitTable, limitTableBytes } from "../../../proxy/observe/shared-limits.ts";
import { SharedState } from "../../../proxy/observe/shared.ts";
import type { LimiterSpec } from "../../../proxy/pipeline/plugin.ts";
import type { HammerWork } from "./hammer.ts";

const spec = (over: Partial<LimiterSpec> = {}): LimiterSpec => ({
  id: "orders/rate-limit",
  algorithm: "gcra",
  limit: 1000,
  windowMs: 3_600_000,
  ...over,
});

/** Runs threads that all take from the same keys at once; the answers allowed per key. */
async function hammer(
  shared: SharedState,
  one: LimiterSpec,
  keys: readonly string[],
  rounds: number,
): Promise<number[]> {
  const threads = 4;
  const gate = new SharedArrayBuffer(4);
  const workers = Array.from({ length: threads }, (_, i) => {
    const workerData: HammerWork = {
      handles: shared.handles,
      spec: one,
      thread: i + 1,
      keys,
      rounds,
      gate,
      threads,
    };
    return new Worker(new URL("hammer.ts", import.meta.url), { workerData });
  });
  const answers = await Promise.all(
    workers.map((worker) => once(worker, "message") as Promise<[number[]]>),
  );
  return keys.map((_, i) => answers.reduce((sum, [allowed]) => sum + allowed[i]!, 0));
}

for (const algorithm of ["gcra", "fixed-window", "sliding-window"] as const) {
  test(`${algorithm}: four threads at one key get exactly the limit between them`, async () => {
    // a day: no window ends, and nothing refills, while this runs
    const one = spec({ algorithm, burst: 1000, windowMs: 864_000_000 });
    assert.deepEqual(
      await hammer(SharedState.create({ limits: 1024 }), one, ["client"], 1500),
      [1000],
    );
  });
}

test("four threads at many keys of one set get exactly the limit of each", async () => {
  const keys = Array.from({ length: 24 }, (_, i) => `client-${i}`);
  const allowed = await hammer(
    SharedState.create({ limits: 32 }),
    spec({ limit: 20, windowMs: 864_000_000 }),
    keys,
    40,
  );
  assert.deepEqual(
    allowed,
    keys.map(() => 20),
  );
});

test("a table that overflows forgets, and neither grows nor refuses who is new", () => {
  const shared = SharedState.create({ limits: 64 });
  const limiter = shared.limiter(spec({ limit: 1 }), () => 1000);
  for (let i = 0; i < 10_000; i++) assert.equal(limiter.take(`client-${i}`, 1).allowed, true);
  assert.ok(shared.limits.count(1000 + shared.offsetMs) <= 64);
});

test("under a flood of new keys the counter with the most to remember stays", () => {
  const shared = SharedState.create({ limits: 32 });
  let nowMs = 1000;
  const heavy = shared.limiter(spec({ id: "heavy", limit: 10 }), () => nowMs);
  for (let i = 0; i < 10; i++) heavy.take("abuser", 1);
  const light = shared.limiter(spec({ id: "light", limit: 1000 }), () => nowMs);
  for (let i = 0; i < 5000; i++) {
    nowMs += 0.001;
    light.take(`stranger-${i}`, 1);
  }
  assert.equal(heavy.take("abuser", 1).allowed, false);
});

test("an expired entry is used again before a living one", () => {
  const table = new LimitTable(new SharedArrayBuffer(limitTableBytes(1)), 1, [1, 2]);
  const rule = { algorithm: "gcra", limit: 1, burst: 1, windowMs: 1000 } as const;
  const long = { ...rule, windowMs: 100_000 };
  for (let i = 0; i < 16; i++) table.take(long, `long-${i}`, 1, 5000);
  for (let i = 0; i < 16; i++) table.take(rule, `short-${i}`, 1, 5000);
  assert.equal(table.count(5500), 32);
  for (let i = 0; i < 16; i++) table.take(rule, `later-${i}`, 1, 7000);
  for (let i = 0; i < 16; i++) assert.equal(table.take(long, `long-${i}`, 1, 7000).allowed, false);
});

test("limiters with another id, algorithm or window do not meet, the same ones do", () => {
  const shared = SharedState.create({ limits: 1024 });
  const now = (): number => 1000;
  const take = (over: Partial<LimiterSpec>): boolean =>
    shared.limiter(spec({ limit: 1, ...over }), now).take("k", 1).allowed;
  assert.equal(take({}), true);
  assert.equal(take({}), false);
  assert.equal(take({ id: "other" }), true);
  assert.equal(take({ algorithm: "fixed-window" }), true);
  assert.equal(take({ windowMs: 1000 }), true);
});

test("a limit that changes on reload keeps what was taken", () => {
  const shared = SharedState.create({ limits: 1024 });
  const now = (): number => 1000;
  const before = shared.limiter(spec({ limit: 10 }), now);
  for (let i = 0; i < 10; i++) before.take("k", 1);
  assert.equal(before.take("k", 1).allowed, false);
  assert.equal(shared.limiter(spec({ limit: 12 }), now).take("k", 1).remaining, 1);
});

test("any text is a key, and different texts are different keys", () => {
  const shared = SharedState.create({ limits: 65_536 });
  const limiter = shared.limiter(spec({ limit: 1 }), () => 1000);
  const seen = new Set<string>();
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 40 }), (key) => {
      assert.equal(limiter.take(key, 1).allowed, !seen.has(key));
      seen.add(key);
    }),
  );
  for (const key of ["a", "a\0", "\0a", "a\0\0", ""]) {
    if (!seen.has(key)) assert.equal(limiter.take(key, 1).allowed, true);
    seen.add(key);
  }
});

test("a cost that is no positive number takes nothing", () => {
  const limiter = SharedState.create({ limits: 32 }).limiter(spec({ limit: 5 }), () => 1000);
  for (const cost of [0, -3, NaN, -Infinity]) assert.equal(limiter.take("k", cost).remaining, 5);
  assert.equal(limiter.take("k", Infinity).allowed, false);
  assert.equal(limiter.take("k", 5).allowed, true);
});

test("a spec that makes no sense is refused", () => {
  const shared = SharedState.create({ limits: 32 });
  for (const over of [
    { limit: 0 },
    { limit: NaN },
    { windowMs: -1 },
    { burst: 0 },
    { limit: Infinity },
  ]) {
    assert.throws(() => shared.limiter(spec(over)), RangeError);
  }
});
