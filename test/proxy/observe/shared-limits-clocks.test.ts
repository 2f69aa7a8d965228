/** Never more than the limit is let through, whatever threads do at the same time and whatever their clocks show. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { after, test } from "node:test";
import { Worker } from "node:worker_threads";
import fc from "fast-check";
import { SharedState } from "../../../proxy/observe/shared.ts";
import type { LimiterSpec } from "../../../proxy/pipeline/plugin.ts";
import type { Taking } from "./taker.ts";

const threads = 3;
const shared = SharedState.create({ limits: 1024 });
const workers = Array.from(
  { length: threads },
  (_, i) =>
    new Worker(new URL("taker.ts", import.meta.url), {
      workerData: { handles: shared.handles, thread: i + 1 },
    }),
);
after(() => Promise.all(workers.map((worker) => worker.terminate())));

const startMs = 1_000_000;
/** Forwards, backwards, by a moment or by windows. */
const jumps = fc.oneof(
  fc.constant(0),
  fc.integer({ min: -50, max: 50 }),
  fc.integer({ min: -5000, max: 5000 }),
);

/** A count is forgotten a window after its last use: longer than any clock goes here. */
const windowMsOf = (algorithm: LimiterSpec["algorithm"]): number =>
  algorithm === "count" ? 1e9 : 1000;

/** The most that may pass while the furthest clock goes from one moment to another. */
function most({ algorithm, limit, windowMs, burst }: LimiterSpec, toMs: number): number {
  const spanMs = toMs - startMs;
  switch (algorithm) {
    case "gcra":
      return burst! + (spanMs / windowMs) * limit;
    case "fixed-window":
      return limit * (Math.floor(toMs / windowMs) - Math.floor(startMs / windowMs) + 1);
    case "sliding-window":
      return limit * (Math.floor(spanMs / windowMs) + 1);
    case "count":
      return limit;
  }
}

let keys = 0;

for (const algorithm of ["gcra", "fixed-window", "sliding-window", "count"] as const) {
  test(`${algorithm}: threads whose clocks jump never let more through than the limit`, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(jumps, { minLength: 1, maxLength: 60 }), {
          minLength: threads,
          maxLength: threads,
        }),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 3 }),
        async (walks, limit, burst, cost) => {
          const spec = { id: "jumps", algorithm, limit, burst, windowMs: windowMsOf(algorithm) };
          const gate = new SharedArrayBuffer(4);
          const key = `caller-${++keys}`;
          const rounds = walks.map((steps): Taking => {
            let nowMs = startMs;
            // nobody's clock shows less than the start: what is before it is another span
            const momentsMs = steps.map((step) => (nowMs = Math.max(startMs, nowMs + step)));
            return { spec, key, momentsMs: [startMs, ...momentsMs], cost, gate, threads };
          });
          const answers = workers.map((worker, i) => {
            const answer = once(worker, "message") as Promise<[number]>;
            worker.postMessage(rounds[i]);
            return answer;
          });
          const units = (await Promise.all(answers)).reduce((sum, [one]) => sum + one, 0);
          const furthestMs = Math.max(...rounds.flatMap(({ momentsMs }) => momentsMs));
          assert.ok(units <= most(spec, furthestMs) + 1e-3, `${units} units of ${limit} passed`);
          // and not by letting nobody through
          const first = algorithm === "gcra" ? burst : limit;
          const tries = rounds.reduce((sum, { momentsMs }) => sum + momentsMs.length, 0);
          assert.ok(units >= Math.min(Math.floor(first / cost), tries) * cost);
        },
      ),
      { numRuns: 150 },
    );
  });
}

test("handles whose clocks disagree count one allowance between them, in any order of turns", () => {
  fc.assert(
    fc.property(
      fc.constantFrom("gcra", "fixed-window", "sliding-window", "count"),
      fc.array(fc.integer({ min: -3000, max: 3000 }), { minLength: 2, maxLength: 5 }),
      fc.array(fc.tuple(fc.nat(), jumps), { maxLength: 200 }),
      fc.integer({ min: 1, max: 20 }),
      (algorithm, offsets, turns, limit) => {
        const spec: LimiterSpec = {
          id: `offsets-${++keys}`,
          algorithm,
          limit,
          burst: limit,
          windowMs: windowMsOf(algorithm),
        };
        let baseMs = startMs;
        let furthestMs = startMs;
        const limiters = offsets.map((offsetMs) => {
          const one = SharedState.open(shared.handles, { thread: 0, offsetMs: 0 });
          return one.limiter(spec, () => {
            const nowMs = Math.max(startMs, baseMs + offsetMs);
            furthestMs = Math.max(furthestMs, nowMs);
            return nowMs;
          });
        });
        let passed = 0;
        for (const [who, jump] of turns) {
          baseMs += jump;
          if (limiters[who % limiters.length]!.take("k", 1).allowed) passed++;
        }
        assert.ok(passed <= most(spec, furthestMs) + 1e-3);
      },
    ),
    { numRuns: 300 },
  );
});
