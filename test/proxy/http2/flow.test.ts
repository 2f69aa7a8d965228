/** Windows, budgets and frames as units. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { FloodGuard, ReceiveWindow, WindowBudget } from "../../../proxy/http2/flow.ts";
import { FrameReader, settingsFrame, type FrameSink } from "../../../proxy/http2/frames.ts";
import { frame } from "./frame-client.ts";

describe("the window that we grant", () => {
  test("starts with the protocol's default and is granted again by halves", () => {
    const window = new ReceiveWindow(new WindowBudget(0), 1_000_000);
    assert.equal(window.receive(65_535), true);
    assert.equal(window.consume(32_000), 0);
    assert.equal(window.consume(1_000), 33_000);
    assert.equal(window.receive(33_001), false);
  });

  test("doubles while bytes are taken as they come, up to its maximum and the budget", () => {
    const budget = new WindowBudget(300_000);
    const window = new ReceiveWindow(budget, 200_000);
    for (let i = 0; i < 20; i++) {
      assert.equal(window.receive(window.size), true);
      window.consume(window.size);
    }
    assert.equal(window.size, 200_000);
    assert.equal(budget.used, 200_000 - 65_535);
    const second = new ReceiveWindow(budget, 1_000_000);
    for (let i = 0; i < 20; i++) {
      second.receive(second.size);
      second.consume(second.size);
    }
    assert.ok(budget.used <= budget.limitBytes);
    window.release();
    second.release();
    assert.equal(budget.used, 0);
  });

  test("does not grow for who is slow to take bytes", () => {
    const window = new ReceiveWindow(new WindowBudget(), 1_000_000);
    window.receive(65_535);
    window.stopGrowing();
    assert.equal(window.consume(65_535), 65_535);
    assert.equal(window.size, 65_535);
  });

  test("never promises more than its size, whatever comes and goes", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 70_000 }), { maxLength: 200 }), (sizes) => {
        const window = new ReceiveWindow(new WindowBudget(500_000), 400_000);
        let left = 65_535;
        let untaken = 0;
        for (const size of sizes) {
          const n = Math.min(size, left);
          assert.equal(window.receive(n), true);
          left -= n;
          untaken += n;
          const taken = size % 2 === 0 ? untaken : untaken >> 1;
          untaken -= taken;
          left += window.consume(taken);
          assert.ok(left + untaken <= window.size);
        }
      }),
      { numRuns: 200 },
    );
  });
});

test("a flood guard lets a burst pass, then the lasting rate, and work earns more", () => {
  let nowMs = 0;
  const now = (): number => nowMs;
  const guard = new FloodGuard(10, 5, 0);
  for (let i = 0; i < 10; i++) assert.equal(guard.spend(now), true);
  assert.equal(guard.spend(now), false);
  nowMs = 1000;
  const more = new FloodGuard(10, 5, 0);
  for (let i = 0; i < 10; i++) more.spend(now);
  for (let i = 0; i < 5; i++) assert.equal(more.spend(now), true);
  assert.equal(more.spend(now), false);
  const busy = new FloodGuard(10, 5, nowMs);
  for (let i = 0; i < 1000; i++) {
    busy.earn(2);
    assert.equal(busy.spend(now), true);
  }
});

test("however bytes are split, the same frames come out", () => {
  const one = fc.record({
    type: fc.integer({ min: 0, max: 20 }),
    flags: fc.integer({ min: 0, max: 255 }),
    streamId: fc.integer({ min: 0, max: 0x7fffffff }),
    length: fc.integer({ min: 0, max: 300 }),
  });
  fc.assert(
    fc.property(
      fc.array(one, { maxLength: 12 }),
      fc.infiniteStream(fc.integer({ min: 1, max: 40 })),
      (frames, cuts) => {
        const bytes = Buffer.concat([
          settingsFrame([]),
          ...frames.map(({ type, flags, streamId, length }, i) =>
            frame(type, flags, streamId, Buffer.alloc(length, i)),
          ),
        ]);
        const seen: string[] = [];
        const sink: FrameSink = {
          onFrame(type, flags, streamId, buf, start, end) {
            seen.push(`${type} ${flags} ${streamId} ${buf.toString("hex", start, end)}`);
            return true;
          },
          onOversized: () => assert.fail(),
        };
        const reader = new FrameReader();
        for (let at = 0; at < bytes.length;) {
          const end = at + cuts.next().value!;
          reader.read(bytes.subarray(at, end), sink);
          at = end;
        }
        assert.ok(reader.isEmpty);
        assert.deepEqual(
          seen.slice(1),
          frames.map(
            ({ type, flags, streamId, length }, i) =>
              `${type} ${flags} ${streamId} ${Buffer.alloc(length, i).toString("hex")}`,
          ),
        );
      },
    ),
    { numRuns: 200 },
  );
});
