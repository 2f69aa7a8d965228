/** Counting exchanges, attempts and connections on the hot path. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { MetricsReader } from "../../../proxy/observe/metrics-reader.ts";
import { Metrics } from "../../../proxy/observe/metrics.ts";
import { ServiceMetrics } from "../../../proxy/observe/request-metrics.ts";

function setUp(): { counts: ServiceMetrics; reader: MetricsReader; announced: () => number } {
  const reader = new MetricsReader();
  let announced = 0;
  const metrics = new Metrics({
    slots: 8192,
    announce(message) {
      announced++;
      reader.announce(1, message);
    },
  });
  reader.attach(1, metrics.page);
  return { counts: new ServiceMetrics(metrics, "gateway"), reader, announced: () => announced };
}

test("an exchange counts once, with its bytes and its time", () => {
  const { counts, reader } = setUp();
  counts.request("web", "orders", "orders", "GET", 200, null, 12, 3, 40);
  counts.request("web", "orders", "orders", "GET", 200, null, 12, 0, 2);
  const where = { mode: "gateway", listener: "web", route: "orders", service: "orders" };
  assert.equal(
    reader.total("weft_requests_total", { ...where, method: "GET", status: "200", code: "" }),
    2,
  );
  assert.equal(reader.total("weft_request_bytes_total", where), 3);
  assert.equal(reader.total("weft_response_bytes_total", where), 42);
  assert.equal(reader.total("weft_request_duration_seconds", where), 2);
});

test("kinds of exchanges are told apart", () => {
  const { counts, reader } = setUp();
  for (const [method, status, code] of [
    ["GET", 200, null],
    ["POST", 200, null],
    ["GET", 404, null],
    ["GET", 404, "no-route"],
    ["GET", 0, "client-closed"],
  ] as const) {
    counts.request("web", "r", "s", method, status, code, 1, 0, 0);
    counts.request("web", "r", "s", method, status, code, 1, 0, 0);
  }
  for (const [method, status, code] of [
    ["GET", "200", ""],
    ["POST", "200", ""],
    ["GET", "404", ""],
    ["GET", "404", "no-route"],
    ["GET", "0", "client-closed"],
  ] as const) {
    assert.equal(reader.total("weft_requests_total", { method, status, code }), 2);
  }
});

test("listeners, routes and services are told apart", () => {
  const { counts, reader } = setUp();
  for (const [listener, route, service] of [
    ["a", "r", "s"],
    ["b", "r", "s"],
    ["a", "q", "s"],
    ["a", "r", "t"],
    ["a", "r", null],
    ["a", null, null],
  ] as const) {
    counts.request(listener, route, service, "GET", 200, null, 1, 0, 0);
  }
  const family = reader.read().find(({ definition }) => definition.name === "weft_requests_total")!;
  assert.equal(family.samples.length, 6);
  assert.equal(reader.total("weft_requests_total", { route: "", service: "" }), 1);
});

test("a method that a stranger made up is __other__", () => {
  const { counts, reader } = setUp();
  for (let i = 0; i < 100; i++) counts.request("web", "r", "s", `M${i}`, 200, null, 1, 0, 0);
  assert.equal(reader.total("weft_requests_total", { method: "__other__" }), 100);
});

test("after the first of its kind nothing new is made", () => {
  const { counts, announced } = setUp();
  const all = (): void => {
    counts.request("web", "r", "s", "GET", 200, null, 1, 1, 1);
    counts.request("web", "r", "s", "PUT", 503, "no-endpoint", 1, 1, 1);
    counts.attempt("s", "a:1", "2xx");
    counts.retry("s", "503");
    counts.retryDenied("s", "budget");
    counts.active(1);
    counts.connection("downstream", 1);
  };
  all();
  const before = announced();
  const series = counts.scope("web", "r", "s");
  for (let i = 0; i < 100; i++) all();
  assert.equal(announced(), before);
  assert.equal(counts.scope("web", "r", "s"), series);
});

test("attempts, retries, connections and access decisions have their labels", () => {
  const { counts, reader } = setUp();
  counts.attempt("s", "a:1", "2xx");
  counts.attempt("s", "a:1", "connect-refused");
  counts.retry("s", "connect-failure");
  counts.retryDenied("s", "budget");
  counts.active(1);
  counts.connection("upstream", 2);
  counts.connection("upstream", -1);
  counts.access("access.rules[0]", "allow", "spiffe://weft.local/service/web", "orders");
  assert.equal(reader.total("weft_attempts_total", { service: "s", endpoint: "a:1" }), 2);
  assert.equal(reader.total("weft_attempts_total", { result: "connect-refused" }), 1);
  assert.equal(reader.total("weft_retries_total", { service: "s", reason: "connect-failure" }), 1);
  assert.equal(reader.total("weft_retries_denied_total", { reason: "budget" }), 1);
  assert.equal(reader.total("weft_active_requests", { mode: "gateway" }), 1);
  assert.equal(reader.total("weft_connections", { side: "upstream" }), 1);
  assert.equal(reader.total("weft_connections", { side: "downstream" }), 0);
  assert.equal(
    reader.total("weft_access_total", {
      rule: "access.rules[0]",
      decision: "allow",
      destination: "orders",
    }),
    1,
  );
});
