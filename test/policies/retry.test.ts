/** The safe rule: what may be tried again. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  backoffMs,
  defaultRetry,
  isIdempotent,
  judgeRetry,
  type FailedTry,
  type RetryPolicy,
} from "../../policies/retry.ts";

const policy: RetryPolicy = { ...defaultRetry, attempts: 1, on: new Set(defaultRetry.on) };
const failed = (over: Partial<FailedTry> = {}): FailedTry => ({
  kind: "connect-failure",
  status: 0,
  tries: 1,
  method: "GET",
  hasIdempotencyKey: false,
  nothingSent: true,
  bodyReplayable: true,
  responseStarted: false,
  nowMs: 1000,
  deadlineMs: 0,
  advice: null,
  ...over,
});
const judge = (over: Partial<FailedTry>, one: RetryPolicy = policy): string =>
  judgeRetry(one, failed(over));

test("a failed connect is tried again whatever the method", () => {
  assert.equal(judge({ method: "POST" }), "retry");
});

test("a reset after sending is tried again only for idempotent methods or with a key", () => {
  const reset = { kind: "reset-before-response", nothingSent: false } as const;
  assert.equal(judge({ ...reset, method: "GET" }), "retry");
  assert.equal(judge({ ...reset, method: "POST" }), "not-idempotent");
  assert.equal(judge({ ...reset, method: "PATCH" }), "not-idempotent");
  assert.equal(judge({ ...reset, method: "POST", hasIdempotencyKey: true }), "retry");
});

test("502, 503 and 504 are tried again, 500 and others are not", () => {
  for (const status of [502, 503, 504])
    assert.equal(judge({ kind: "status", status, nothingSent: false }), "retry");
  for (const status of [500, 501, 429, 404])
    assert.equal(judge({ kind: "status", status, nothingSent: false }), "none");
});

test("a try that timed out counts as 504", () => {
  assert.equal(judge({ kind: "attempt-timeout", nothingSent: false }), "retry");
  assert.equal(
    judge({ kind: "attempt-timeout", nothingSent: false }, { ...policy, on: new Set(["502"]) }),
    "none",
  );
});

test("no more tries than the policy says", () => {
  assert.equal(judge({ tries: 2 }), "attempts");
  assert.equal(judge({ tries: 2 }, { ...policy, attempts: 2 }), "retry");
  assert.equal(judge({}, { ...policy, attempts: 0 }), "none");
});

test("nothing is tried again once the answer has begun, whatever else holds", () => {
  fc.assert(
    fc.property(
      fc.constantFrom("connect-failure", "status", "other"),
      fc.constantFrom("retry", "fail", null),
      fc.boolean(),
      (kind, advice, nothingSent) => {
        assert.equal(
          judge({ kind, advice, nothingSent, responseStarted: true }),
          "response-started",
        );
      },
    ),
  );
});

test("a plugin may ask for a retry and may forbid one, and never overrides safety", () => {
  assert.equal(
    judge({ kind: "status", status: 500, advice: "retry", nothingSent: false }),
    "retry",
  );
  assert.equal(judge({ advice: "fail" }), "none");
  assert.equal(judge({ advice: "retry", nothingSent: false, method: "POST" }), "not-idempotent");
  assert.equal(judge({ advice: "retry", bodyReplayable: false }), "body-not-replayable");
});

test("a body that is gone or a deadline that has passed forbids it", () => {
  assert.equal(judge({ bodyReplayable: false }), "body-not-replayable");
  assert.equal(judge({ deadlineMs: 1000 }), "deadline");
  assert.equal(judge({ deadlineMs: 1001 }), "retry");
});

test("idempotent are the methods of RFC 9110 and QUERY", () => {
  const methods = [
    "GET",
    "HEAD",
    "OPTIONS",
    "TRACE",
    "PUT",
    "DELETE",
    "QUERY",
    "POST",
    "PATCH",
    "CONNECT",
    "get",
  ];
  assert.deepEqual(methods.filter(isIdempotent), methods.slice(0, 7));
});

test("the wait doubles from 25 ms to 250 ms with full jitter", () => {
  assert.deepEqual(
    [1, 2, 3, 4, 5, 9].map((tries) => backoffMs(policy, tries, 1)),
    [25, 50, 100, 200, 250, 250],
  );
  assert.equal(backoffMs(policy, 3, 0), 0);
});
