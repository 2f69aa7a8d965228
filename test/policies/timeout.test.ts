/** Deadlines from callers and policies. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  attemptDeadlineAt,
  canFinish,
  deadlineAt,
  formatGrpcTimeout,
  parseGrpcTimeout,
  parseTimeoutMs,
} from "../../policies/timeout.ts";

test("grpc-timeout is read in every unit", () => {
  const texts = ["1H", "2M", "3S", "4m", "5000u", "6000000n", "0m", "99999999S"];
  assert.deepEqual(
    texts.map(parseGrpcTimeout),
    [3_600_000, 120_000, 3000, 4, 5, 6, 0, 99_999_999_000],
  );
});

test("anything else is no grpc-timeout", () => {
  for (const text of [
    "",
    "1",
    "m",
    "1s",
    "-1m",
    "1.5S",
    "123456789m",
    " 1m",
    "1m ",
    "1mm",
    "1e3m",
  ]) {
    assert.equal(parseGrpcTimeout(text), null, text);
  }
});

test("a timeout in milliseconds is whole digits", () => {
  assert.equal(parseTimeoutMs("250"), 250);
  for (const text of ["", "-1", "1.5", "1e3", "0x10", "12345678901", " 1"])
    assert.equal(parseTimeoutMs(text), null, text);
});

test("what is sent on as grpc-timeout is readable and never more than was left", () => {
  fc.assert(
    fc.property(fc.double({ min: 1, max: 1e14, noNaN: true }), (leftMs) => {
      const text = formatGrpcTimeout(leftMs);
      const read = parseGrpcTimeout(text);
      assert.ok(read !== null && read <= leftMs && read >= 1, text);
    }),
  );
});

test("the smaller of policy and caller is the deadline", () => {
  assert.equal(deadlineAt(100, 15_000, null), 15_100);
  assert.equal(deadlineAt(100, 15_000, 50), 150);
  assert.equal(deadlineAt(100, 50, 15_000), 150);
  assert.equal(deadlineAt(100, 0, 50), 150);
  assert.equal(deadlineAt(100, 0, null), 0);
  assert.equal(deadlineAt(100, 15_000, 0), 100);
});

test("a try ends at its own timeout or at the deadline, whichever is first", () => {
  assert.equal(attemptDeadlineAt(100, 0, 0), 0);
  assert.equal(attemptDeadlineAt(100, 0, 500), 500);
  assert.equal(attemptDeadlineAt(100, 50, 0), 150);
  assert.equal(attemptDeadlineAt(100, 50, 500), 150);
  assert.equal(attemptDeadlineAt(100, 5000, 500), 500);
});

test("a try that cannot finish in time is not started", () => {
  assert.equal(canFinish(100, 25, 0, 0), true);
  assert.equal(canFinish(100, 25, 0, 200), true);
  assert.equal(canFinish(100, 100, 0, 200), false);
  assert.equal(canFinish(100, 25, 80, 200), false);
});
