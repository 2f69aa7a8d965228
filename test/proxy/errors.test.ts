/** The error table, its documentation and the contract stay in step. */

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { catalogue, errorCodes, ProxyError } from "../../proxy/errors.ts";
import { root } from "../support/source-tree.ts";

const page = fs.readFileSync(path.join(root, "docs/errors.md"), "utf8");
const sections = page.split(/^## /m).slice(1);

test("docs/errors.md has a section for every code, in the table's order, and no other", () => {
  const documented = sections.map((section) => section.split("\n")[0]);
  assert.deepEqual([...documented].sort(), [...errorCodes].sort());
});

test("every section gives the statuses of the table, a cause and a cure", () => {
  for (const section of sections) {
    const code = section.split("\n")[0] as keyof typeof catalogue;
    const entry = catalogue[code];
    assert.ok(section.includes(`HTTP ${entry.status}, gRPC ${entry.grpc}.`), code);
    assert.match(section, /\*\*Cause\.\*\* \S/, code);
    assert.match(section, /\*\*Cure\.\*\* \S/, code);
  }
});

test("statuses are those of the contract", () => {
  const contract: Record<string, number> = {
    "bad-request": 400,
    unauthenticated: 401,
    forbidden: 403,
    "no-route": 404,
    "method-not-allowed": 405,
    "request-timeout": 408,
    "body-too-large": 413,
    "header-too-large": 431,
    misdirected: 421,
    "rate-limited": 429,
    "client-closed": 499,
    "plugin-error": 500,
    "connect-refused": 502,
    "connect-timeout": 502,
    "upstream-reset": 502,
    "upstream-invalid": 502,
    "upstream-tls": 502,
    "auth-unavailable": 503,
    "no-endpoint": 503,
    "all-ejected": 503,
    "breaker-open": 503,
    overloaded: 503,
    "deadline-exceeded": 504,
    "attempt-timeout": 504,
  };
  for (const [code, status] of Object.entries(contract)) {
    assert.equal(catalogue[code as keyof typeof catalogue].status, status, code);
  }
});

test("an error carries what its code says, its message and its cause", () => {
  const cause = new Error("ECONNREFUSED");
  const error = new ProxyError("connect-refused", "connect 10.0.0.7:8080: refused", {
    retryable: true,
    cause,
  });
  assert.equal(error.status, 502);
  assert.equal(error.source, "upstream");
  assert.equal(error.retryable, true);
  assert.equal(error.cause, cause);
  assert.equal(new ProxyError("forbidden", "no").retryable, false);
});
