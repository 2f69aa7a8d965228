import assert from "node:assert/strict";
import { describe, it } from "node:test";
import tls from "node:tls";
import { ConfigProblems } from "../../control/compile.ts";
import type { Config } from "../../control/config.ts";
import type { DialIdentity } from "../../proxy/upstream/connect.ts";
import { pluginsOf, routeOf, Worker } from "./compile-env.ts";
import { configOf } from "./loading.ts";

const identity: DialIdentity = {
  context: tls.createSecureContext(),
  refusal: () => null,
  plainText: () => "",
};

/** A sidecar's configuration. The loader wants readable certificates, the compiler only the identity made of them. */
async function sidecar(text: string, own: Partial<Config["mesh"]> = {}): Promise<Config> {
  const config = await configOf(text);
  return {
    ...config,
    mesh: {
      service: "web",
      app: { host: "127.0.0.1", port: 3000 },
      outbound: null,
      inbound: null,
      advertise: null,
      trustDomain: "weft.local",
      mtls: "strict",
      identity: null,
      ...own,
    },
  };
}

const services = `services:
  orders: { endpoints: ["10.0.0.1:15006"] }
  Payments: { endpoints: ["10.0.0.2:15006"] }
  db: { endpoints: ["10.0.0.3:80"], mtls: false }
  web: { endpoints: ["10.0.0.4:15006"] }
`;

describe("the outbound side of a sidecar", () => {
  it("has a route for each service, by its name as host", async (t) => {
    const { planes } = await new Worker(t).apply(await sidecar(services), "mesh", identity);
    const { outbound } = planes;
    assert.equal(planes.edge, null);
    assert.equal(outbound?.mode, "mesh-outbound");
    assert.equal(outbound?.access, null);
    assert.equal(routeOf(outbound, { host: "orders", path: "/x" })?.name, "orders");
    assert.equal(routeOf(outbound, { host: "payments" })?.name, "Payments");
    assert.equal(routeOf(outbound, { host: "elsewhere.com" }), null);
    assert.equal(routeOf(outbound, { host: "orders" })?.policy.retry.attempts, 2);
  });

  it("lets a written route go before the implied one", async (t) => {
    const config = await sidecar(`${services}
routes:
  - { name: special, hosts: [orders], match: { path: /special }, to: Payments }
  - { name: whole, hosts: [db], to: orders }
  - { name: rest, to: web }
`);
    const { outbound } = (await new Worker(t).apply(config, "mesh", identity)).planes;
    const name = (host: string, path: string) => routeOf(outbound, { host, path })?.name;
    assert.equal(name("orders", "/special/1"), "special");
    assert.equal(name("orders", "/x"), "orders");
    assert.equal(name("db", "/x"), "whole");
    assert.equal(name("elsewhere", "/x"), "rest");
  });

  it("dials by mTLS and expects the name of the service, unless that opted out", async (t) => {
    const snapshot = await new Worker(t).apply(await sidecar(services), "mesh", identity);
    const dial = (name: string) => snapshot.services.get(name)?.endpoints[0]?.target.tls ?? null;
    const orders = dial("orders");
    assert.ok(orders?.kind === "mesh");
    assert.equal(orders.expectedId, "spiffe://weft.local/service/orders");
    assert.equal(orders.identity, identity);
    assert.equal(dial("db"), null);
  });

  it("is refused without an identity to show", async (t) => {
    const config = await sidecar(services);
    await assert.rejects(new Worker(t).build(config, "mesh", null), (error) => {
      assert.ok(error instanceof ConfigProblems);
      assert.deepEqual(
        error.problems.map(({ path }) => path.join(".")),
        ["services.orders", "services.Payments", "services.web"],
      );
      return true;
    });
  });
});

describe("the inbound side of a sidecar", () => {
  it("hands every path and host to the app, which may share its name with a service", async (t) => {
    const snapshot = await new Worker(t).apply(await sidecar(services), "mesh", identity);
    const route = routeOf(snapshot.planes.inbound, { host: "whatever", path: "/x/y" });
    assert.ok(route?.target.kind === "service");
    const { service } = route.target.choices.next();
    assert.equal(service.name, "web");
    assert.deepEqual(
      service.endpoints.map(({ address, target }) => [address, target.tls]),
      [["127.0.0.1:3000", null]],
    );
    assert.notEqual(service, snapshot.services.get("web"));
  });

  it("takes no path when there is no app", async (t) => {
    const config = await sidecar(services, { app: null });
    const { inbound } = (await new Worker(t).apply(config, "mesh", identity)).planes;
    assert.equal(routeOf(inbound, { path: "/" }), null);
  });

  it("asks the access rules, and denies when nothing is said", async (t) => {
    const ask = {
      peerId: "spiffe://weft.local/service/batch",
      to: "web",
      method: "GET",
      path: "/",
    };
    const silent = (await new Worker(t).apply(await sidecar(services), "mesh", identity)).planes;
    assert.equal(silent.inbound?.access?.decide(ask).allowed, false);
    assert.equal(silent.inbound?.self, "web");
    const config = await sidecar(`${services}
access: { rules: [{ to: web, from: [batch] }] }`);
    const { inbound } = (await new Worker(t).apply(config, "mesh", identity)).planes;
    assert.deepEqual(inbound?.access?.decide(ask), {
      allowed: true,
      rule: "access.rules[0]",
      shadow: [],
    });
    assert.equal(inbound?.access?.decide({ ...ask, peerId: null }).allowed, false);
  });

  it("retries only what its own connection to the app lost", async (t) => {
    const { inbound } = (await new Worker(t).apply(await sidecar(services), "mesh", identity))
      .planes;
    const target = routeOf(inbound, {})?.target;
    assert.ok(target?.kind === "service");
    const { retry } = target.choices.next().policy;
    assert.deepEqual([...retry.on], ["connect-failure", "reset-before-response"]);
  });
});

describe("global plugins of a sidecar", () => {
  it("run on each side where they can", async (t) => {
    const config = await sidecar(`${services}
plugins: [request-id, { cors: { origins: ["https://a.com"] } }]`);
    const { planes } = await new Worker(t).apply(config, "mesh", identity);
    assert.deepEqual(pluginsOf(routeOf(planes.outbound, { host: "orders" })), ["request-id"]);
    assert.deepEqual(pluginsOf(routeOf(planes.inbound, {})), ["request-id", "cors"]);
  });
});

describe("a gateway with an identity", () => {
  it("reaches only the services by mTLS that ask for it", async (t) => {
    const config = await sidecar(`services:
  a: { endpoints: ["10.0.0.1:1"] }
`);
    const meshed: Config = {
      ...config,
      services: { ...config.services, b: { ...config.services["a"]!, mtls: true } },
    };
    const { services, planes } = await new Worker(t).apply(meshed, "gateway", identity);
    const kind = (name: string) => services.get(name)?.endpoints[0]?.target.tls?.kind ?? null;
    assert.deepEqual([kind("a"), kind("b")], [null, "mesh"]);
    assert.equal(planes.inbound, null);
  });
});
