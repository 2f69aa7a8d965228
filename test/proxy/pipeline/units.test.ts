import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { BoundedCache } from "../../../proxy/pipeline/local-cache.ts";
import { toBytes, toDurationMs, toRate } from "../../../proxy/pipeline/units.ts";
import { parseDuration, parseRate, parseSize } from "../../../control/units.ts";

test("durations, sizes and rates read as they do in the configuration", () => {
  for (const text of ["250ms", "5s", "1m", "24h", "1.5s", "1m30s", "0s", "x", "5", "-1s", "5 s"]) {
    assert.equal(toDurationMs(text) ?? null, parseDuration(text), text);
  }
  for (const text of ["64KiB", "1MiB", "10MB", "5B", "1.5KiB", "x", "-1B"]) {
    assert.equal(toBytes(text) ?? null, parseSize(text), text);
  }
  for (const text of ["100/min", "5/s", "10000/day", "1/h", "0/s", "x/s", "5/fortnight", "5"]) {
    assert.deepEqual(toRate(text) ?? null, parseRate(text), text);
  }
});

test("a bounded cache forgets the least recently used, and what has expired", () => {
  let nowMs = 0;
  const cache = new BoundedCache<number>({ max: 2, ttlMs: 100 }, () => nowMs);
  cache.set("a", 1);
  cache.set("b", 2);
  assert.equal(cache.get("a"), 1);
  cache.set("c", 3);
  assert.equal(cache.get("b"), undefined);
  assert.equal(cache.get("a"), 1);
  cache.set("d", 4, 10);
  nowMs = 10;
  assert.equal(cache.get("d"), undefined);
  nowMs = 100;
  assert.equal(cache.get("a"), undefined);
  assert.equal(cache.size, 0);
});

test("a bounded cache keeps whoever was used among the last half of what it holds", () => {
  const max = 16;
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), fc.nat(40)), { maxLength: 200 }), (steps) => {
      const cache = new BoundedCache<number>({ max }, () => 0);
      const insertions = new Map<number, number>();
      let count = 0;
      for (const [isSet, key] of steps) {
        if (isSet) {
          cache.set(`key ${key}`, key);
          count++;
        }
        const found = cache.get(`key ${key}`);
        if (found !== undefined) assert.equal(found, key);
        const last = insertions.get(key);
        if (last !== undefined && count - last < max / 2) assert.equal(found, key);
        if (found !== undefined) insertions.set(key, count);
        assert.ok(cache.size <= max);
      }
    }),
  );
});
