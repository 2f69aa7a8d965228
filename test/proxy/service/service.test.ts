/** Services pick, eject, probe and forgive. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { defaultEjection } from "../../../policies/ejection.ts";
import { Health } from "../../../proxy/observe/shared-endpoints.ts";
import { SharedState } from "../../../proxy/observe/shared.ts";
import type { Endpoint } from "../../../proxy/service/endpoint.ts";
import type { Service, ServiceObserver, ServiceSpec } from "../../../proxy/service/service.ts";
import { ServiceSet } from "../../../proxy/service/set.ts";

const endpoint = (address: string, weight = 1): ServiceSpec["endpoints"][number] => ({
  address,
  weight,
  target: { host: "127.0.0.1", port: Number(address.split(":")[1]), key: address, tls: null },
});
const specOf = (addresses: readonly string[], over: Partial<ServiceSpec> = {}): ServiceSpec => ({
  name: "orders",
  endpoints: addresses.map((address) => endpoint(address)),
  balance: "round-robin",
  ejection: defaultEjection,
  health: null,
  ...over,
});

interface World {
  readonly service: Service;
  readonly at: { nowMs: number };
  readonly log: string[];
  pick(exclude?: readonly Endpoint[]): Endpoint;
  /** Picks until it gets this endpoint is not possible with a balancer: reports directly. */
  fail(address: string, times?: number): void;
  names(picks: number): string;
}

const baseMs = 1_000_000;

function world(
  addresses: readonly string[],
  over: Partial<ServiceSpec> = {},
  shared = SharedState.create({ limits: 32 }),
): World {
  const at = { nowMs: baseMs };
  const log: string[] = [];
  const observer: Partial<ServiceObserver> = {
    ejected: (one, forMs, times) =>
      log.push(`ejected ${one.address} ${Math.round(forMs)} ${times}`),
    readmitted: (one) => log.push(`readmitted ${one.address}`),
  };
  const own = SharedState.open(shared.handles, { thread: 1, offsetMs: 0 });
  const set = new ServiceSet({
    shared: own,
    metrics: null,
    observer,
    now: () => at.nowMs,
    random: () => 0.5,
  });
  const service = set.apply([specOf(addresses, over)]).get("orders")!;
  const pick = (exclude: readonly Endpoint[] = []): Endpoint => {
    const picked = service.pick(exclude.length === 0 ? null : new Set(exclude), at.nowMs);
    assert.notEqual(typeof picked, "string", String(picked));
    return picked as Endpoint;
  };
  return {
    service,
    at,
    log,
    pick,
    fail(address, times = 5) {
      const one = service.endpoints.find((candidate) => candidate.address === address)!;
      for (let i = 0; i < times; i++) service.report(one, "failure", 1, at.nowMs);
    },
    names: (picks) => Array.from({ length: picks }, () => pick().address.split(":")[0]).join(""),
  };
}

describe("picking", () => {
  test("without endpoints says so", () => {
    assert.equal(world([]).service.pick(null, baseMs), "no-endpoint");
  });

  test("turns through all endpoints", () => {
    assert.equal(world(["a:1", "b:1", "c:1"]).names(6), "abcabc");
  });

  test("a retry goes to an endpoint that was not tried", () => {
    const { service, pick } = world(["a:1", "b:1", "c:1"]);
    for (const tried of service.endpoints) assert.notEqual(pick([tried]), tried);
    const [a, b, c] = service.endpoints;
    assert.equal(pick([a!, b!]), c);
  });

  test("when all were tried, one is tried again", () => {
    const { service, pick } = world(["a:1"]);
    assert.equal(pick(service.endpoints), service.endpoints[0]);
    const two = world(["a:1", "b:1"]);
    assert.ok(two.service.endpoints.includes(two.pick(two.service.endpoints)));
  });

  test("an endpoint that active checks found unhealthy is not picked", () => {
    const { service, names } = world(["a:1", "b:1"]);
    service.endpoints[0]!.row.setHealth(Health.unhealthy);
    assert.equal(names(4), "bbbb");
    service.endpoints[0]!.row.setHealth(Health.healthy);
    assert.match(names(4), /a/);
  });

  test("with all endpoints unhealthy says so", () => {
    const { service } = world(["a:1", "b:1"]);
    for (const { row } of service.endpoints) row.setHealth(Health.unhealthy);
    assert.equal(service.pick(null, baseMs), "all-ejected");
  });
});

describe("ejection", () => {
  test("five failures in a row eject, four do not", () => {
    const one = world(["a:1", "b:1"]);
    one.fail("a:1", 4);
    assert.match(one.names(4), /a/);
    one.fail("a:1", 1);
    assert.equal(one.names(4), "bbbb");
    assert.deepEqual(one.log, ["ejected a:1 1000 1"]);
  });

  test("a success in between starts the count again", () => {
    const one = world(["a:1", "b:1"]);
    one.fail("a:1", 4);
    one.service.report(one.service.endpoints[0]!, "success", 1, baseMs);
    one.fail("a:1", 4);
    assert.deepEqual(one.log, []);
  });

  test("a try that its caller gave up counts for nothing", () => {
    const one = world(["a:1", "b:1"]);
    one.fail("a:1", 4);
    one.service.report(one.service.endpoints[0]!, "cancelled", 1, baseMs);
    one.fail("a:1", 1);
    assert.equal(one.log.length, 1);
  });

  test("the last half stays, however it fails", () => {
    for (const [count, out] of [
      [1, 0],
      [2, 1],
      [3, 1],
      [4, 2],
    ] as const) {
      const one = world(
        Array.from({ length: count }, (_, i) => `${String.fromCharCode(97 + i)}:1`),
      );
      for (const { address } of one.service.endpoints) one.fail(address, 20);
      assert.equal(one.log.length, out, `of ${count}`);
      assert.notEqual(typeof one.service.pick(null, baseMs), "string");
    }
  });

  test("unhealthy endpoints count as out", () => {
    const one = world(["a:1", "b:1", "c:1", "d:1"]);
    one.service.endpoints[0]!.row.setHealth(Health.unhealthy);
    one.fail("b:1");
    one.fail("c:1");
    assert.deepEqual(one.log, ["ejected b:1 1000 1"]);
  });

  test("one real request finds out whether it is back, the others go elsewhere meanwhile", () => {
    const one = world(["a:1", "b:1"]);
    one.fail("a:1");
    one.at.nowMs += 999;
    assert.equal(one.names(3), "bbb");
    one.at.nowMs += 1;
    const probe = one.pick();
    assert.equal(probe.address, "a:1");
    assert.equal(one.names(3), "bbb");
    one.service.report(probe, "success", 1, one.at.nowMs);
    assert.equal(one.log.at(-1), "readmitted a:1");
    assert.match(one.names(4), /a/);
  });

  test("a probe that fails ejects for twice as long", () => {
    const one = world(["a:1", "b:1"]);
    one.fail("a:1");
    for (const expected of [2000, 4000, 8000]) {
      one.at.nowMs += expected / 2;
      const probe = one.pick();
      assert.equal(probe.address, "a:1");
      one.service.report(probe, "failure", 1, one.at.nowMs);
      assert.match(one.log.at(-1)!, new RegExp(`^ejected a:1 ${expected} `));
    }
  });

  test("a probe whose caller left is made again by the next request", () => {
    const one = world(["a:1", "b:1"]);
    one.fail("a:1");
    one.at.nowMs += 1000;
    one.service.report(one.pick(), "cancelled", 1, one.at.nowMs);
    assert.equal(one.pick().address, "a:1");
  });

  test("a probe that never ends is made again after ten seconds", () => {
    const one = world(["a:1", "b:1"]);
    one.fail("a:1");
    one.at.nowMs += 1000;
    assert.equal(one.pick().address, "a:1");
    one.at.nowMs += 9999;
    assert.equal(one.names(3), "bbb");
    one.at.nowMs += 1;
    assert.equal(one.pick().address, "a:1");
  });

  test("a retry does not probe the endpoint that it just came from", () => {
    const one = world(["a:1", "b:1"]);
    one.fail("a:1");
    one.at.nowMs += 1000;
    assert.equal(one.pick([one.service.endpoints[0]!]).address, "b:1");
    assert.equal(one.pick().address, "a:1");
  });

  test("a late success from before the ejection does not end it", () => {
    const one = world(["a:1", "b:1"]);
    one.fail("a:1");
    one.service.report(one.service.endpoints[0]!, "success", 1, baseMs);
    assert.equal(one.names(3), "bbb");
  });

  test("what one worker ejects every worker leaves alone, and only one probes", () => {
    const shared = SharedState.create({ limits: 32 });
    const one = world(["a:1", "b:1"], {}, shared);
    const two = world(["a:1", "b:1"], {}, shared);
    one.fail("a:1", 3);
    two.fail("a:1", 2);
    assert.equal(one.names(3), "bbb");
    assert.equal(two.names(3), "bbb");
    one.at.nowMs += 1000;
    two.at.nowMs += 1000;
    const probe = one.pick();
    assert.equal(probe.address, "a:1");
    assert.equal(two.names(3), "bbb");
    one.service.report(probe, "success", 1, one.at.nowMs);
    assert.match(two.names(3), /a/);
  });

  test("can be turned off", () => {
    const one = world(["a:1", "b:1"], { ejection: { ...defaultEjection, consecutive: 0 } });
    one.fail("a:1", 100);
    assert.deepEqual(one.log, []);
  });
});
