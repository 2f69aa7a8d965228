/** Services keep their identity over reloads, and an apply that is given up changes nothing. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { defaultEjection } from "../../../policies/ejection.ts";
import { MetricsReader } from "../../../proxy/observe/metrics-reader.ts";
import { Metrics } from "../../../proxy/observe/metrics.ts";
import { Health } from "../../../proxy/observe/shared-endpoints.ts";
import { SharedState } from "../../../proxy/observe/shared.ts";
import type { ServiceSpec } from "../../../proxy/service/service.ts";
import { ServiceSet, type ServiceSetOptions } from "../../../proxy/service/set.ts";

const specOf = (
  name: string,
  addresses: readonly string[],
  over: Partial<ServiceSpec> = {},
): ServiceSpec => ({
  name,
  endpoints: addresses.map((address) => ({
    address,
    weight: 1,
    target: { host: "127.0.0.1", port: 1, key: address, tls: null },
  })),
  balance: "ewma",
  ejection: defaultEjection,
  health: null,
  ...over,
});
const addressesOf = (set: ServiceSet, name: string): string[] =>
  (set.services.get(name)?.endpoints ?? []).map(({ address }) => address);

function setUp(over: Partial<ServiceSetOptions> = {}): {
  set: ServiceSet;
  removed: string[];
  shared: SharedState;
} {
  const removed: string[] = [];
  const shared = SharedState.create({ endpoints: 64, limits: 32 });
  const observer = { removed: ({ address }: { address: string }) => void removed.push(address) };
  return { set: new ServiceSet({ shared, metrics: null, observer, ...over }), removed, shared };
}

test("services and endpoints that stay are the same objects", () => {
  const { set, removed } = setUp();
  const before = set.apply([specOf("s", ["a:1", "b:1"])]).get("s")!;
  const [a] = before.endpoints;
  a!.pool = "a pool";
  const after = set.apply([specOf("s", ["c:1", "a:1"], { balance: "round-robin" })]).get("s")!;
  assert.equal(after, before);
  assert.equal(after.endpoints[1], a);
  assert.equal(after.endpoints[1]!.pool, "a pool");
  assert.deepEqual(addressesOf(set, "s"), ["c:1", "a:1"]);
  assert.deepEqual(removed, ["b:1"]);
});

test("a prepared configuration changes nothing until it is activated", () => {
  const { set, removed } = setUp();
  set.apply([specOf("s", ["a:1"]), specOf("t", ["a:1"])]);
  const prepared = set.prepare([specOf("s", ["b:1"]), specOf("new", ["c:1"])]);
  assert.deepEqual(addressesOf(set, "s"), ["a:1"]);
  assert.deepEqual([...set.services.keys()], ["s", "t"]);
  assert.equal(prepared.services.get("s"), set.services.get("s"));
  assert.deepEqual([...prepared.services.keys()], ["s", "new"]);
  assert.deepEqual(removed, []);
  prepared.activate();
  assert.deepEqual(addressesOf(set, "s"), ["b:1"]);
  assert.deepEqual(addressesOf(set, "new"), ["c:1"]);
  assert.deepEqual([...set.services.keys()], ["s", "new"]);
  assert.deepEqual(removed.toSorted(), ["a:1", "a:1"]);
});

test("newer certificates keep the endpoint, another pool identity replaces it", () => {
  const { set, removed } = setUp();
  const target = (key: string): ServiceSpec["endpoints"][number] => ({
    address: "a:1",
    weight: 3,
    target: { host: "127.0.0.1", port: 1, key, tls: null },
  });
  const one = target("plain");
  set.apply([specOf("s", [], { endpoints: [one] })]);
  const [before] = set.services.get("s")!.endpoints;
  const two = target("plain");
  set.apply([specOf("s", [], { endpoints: [two] })]);
  assert.equal(set.services.get("s")!.endpoints[0], before);
  assert.equal(before!.target, two.target);
  set.apply([specOf("s", [], { endpoints: [target("tls")] })]);
  assert.notEqual(set.services.get("s")!.endpoints[0], before);
  assert.deepEqual(removed, ["a:1"]);
  assert.equal(before!.removed, true);
});

test("the same address twice is two endpoints", () => {
  const { set } = setUp();
  const service = set.apply([specOf("s", ["a:1", "a:1"])]).get("s")!;
  assert.notEqual(service.endpoints[0], service.endpoints[1]);
  const [first, second] = service.endpoints;
  set.apply([specOf("s", ["a:1", "a:1"])]);
  assert.deepEqual(service.endpoints, [first, second]);
});

test("an exchange on the old snapshot can still pick from a service that is gone", () => {
  const { set } = setUp();
  const service = set.apply([specOf("s", ["a:1"])]).get("s")!;
  set.apply([]);
  assert.equal(typeof service.pick(null, 0), "object");
  assert.equal(set.services.size, 0);
});

test("states show healthy, unknown, unhealthy and ejected with its end", () => {
  const { set } = setUp({ owner: true });
  const health = { path: "/", intervalMs: 1000, timeoutMs: 1000, healthy: 1, unhealthy: 1 };
  const service = set
    .apply([specOf("s", ["a:1", "b:1", "c:1", "d:1"], { health }), specOf("t", ["e:1"])])
    .get("s")!;
  const [a, b, c] = service.endpoints;
  a!.row.setHealth(Health.healthy);
  b!.row.setHealth(Health.unhealthy);
  const nowMs = performance.now();
  for (let i = 0; i < 5; i++) service.report(c!, "failure", 1, nowMs);
  const states = set.states("s");
  assert.deepEqual(
    states.map(({ address, healthy, state }) => `${address} ${healthy} ${state}`),
    ["a:1 true healthy", "b:1 false unhealthy", "c:1 false ejected", "d:1 true unknown"],
  );
  const inMs = states[2]!.ejectedUntilMs! - Date.now();
  assert.ok(inMs > 0 && inMs <= 1100, `${inMs}`);
  assert.equal(states[0]!.ejectedUntilMs, null);
  assert.deepEqual(set.states("t"), [
    { address: "e:1", healthy: true, state: "healthy", ejectedUntilMs: null },
  ]);
  assert.deepEqual(set.states("nobody"), []);
});

test("the main thread sees what a worker ejected, and both count it", () => {
  const reader = new MetricsReader();
  const metricsOf = (id: number): Metrics => {
    const metrics = new Metrics({
      slots: 4096,
      announce: (message) => reader.announce(id, message),
    });
    reader.attach(id, metrics.page);
    return metrics;
  };
  const { set: main, shared } = setUp({ owner: true, metrics: metricsOf(0) });
  const open = SharedState.open(shared.handles, { thread: 1 });
  const worker = new ServiceSet({ shared: open, metrics: metricsOf(1) });
  for (const set of [main, worker]) set.apply([specOf("s", ["a:1", "b:1"])]);
  const service = worker.services.get("s")!;
  for (let i = 0; i < 5; i++)
    service.report(service.endpoints[0]!, "failure", 20, performance.now());
  service.report(service.endpoints[1]!, "success", 20, performance.now());
  main.publishHealth();
  assert.equal(reader.total("weft_endpoint_healthy", { service: "s", endpoint: "a:1" }), 0);
  assert.equal(reader.total("weft_endpoint_healthy", { service: "s", endpoint: "b:1" }), 1);
  assert.equal(reader.total("weft_ejections_total", { service: "s", endpoint: "a:1" }), 1);
  assert.equal(reader.total("weft_endpoint_latency_seconds", { endpoint: "b:1" }), 0.02);
  for (const set of [main, worker]) set.apply([specOf("s", ["b:1"])]);
  main.publishHealth();
  assert.ok(!reader.render().includes('weft_endpoint_healthy{service="s",endpoint="a:1"}'));
  assert.ok(!reader.render().includes('weft_endpoint_latency_seconds{service="s",endpoint="a:1"}'));
});
