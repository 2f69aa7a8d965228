import assert from "node:assert/strict";
import { test } from "node:test";
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
