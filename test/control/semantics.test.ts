import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { configOf, linesOf } from "./loading.ts";

const hash = (digit: string): string => `sha256:${digit.repeat(64)}`;

describe("listeners", () => {
  const listeners = (...items: string[]): string =>
    `gateway:\n  listeners:\n${items.map((item) => `    - ${item}\n`).join("")}`;

  it("have names of their own", async () => {
    assert.deepEqual(await linesOf(listeners("{ name: a, port: 1 }", "{ name: a, port: 2 }")), [
      '4:15 the listener "a" is here twice',
    ]);
  });

  it("have ports of their own on the same address", async () => {
    assert.deepEqual(
      await linesOf(listeners("{ name: a, port: 80 }", "{ name: b, port: 80, host: 127.0.0.1 }")),
      ["4:24 port 80 is taken by gateway.listeners[0]"],
    );
    await configOf(
      listeners("{ name: a, port: 80, host: 127.0.0.1 }", "{ name: b, port: 80, host: 127.0.0.2 }"),
    );
  });

  it("leave the port of the admin API alone", async () => {
    assert.deepEqual(
      await linesOf(`${listeners("{ port: 9901 }")}admin: { address: "127.0.0.1:9901" }`),
      ["4:19 port 9901 is taken by gateway.listeners[0]"],
    );
    assert.deepEqual(await linesOf(listeners("{ port: 9901 }")), [
      "3:15 port 9901 is taken by the admin API",
    ]);
    await configOf(`${listeners("{ port: 9901 }")}admin: { address: "127.0.0.1:9902" }`);
  });

  it("may share port 0, which is another one each time", async () => {
    await configOf(listeners("{ name: a, port: 0 }", "{ name: b, port: 0 }"));
  });
});

describe("names", () => {
  it("of routes and consumers are given once", async () => {
    assert.deepEqual(
      await linesOf(
        "routes:\n  - { name: a, respond: {} }\n  - { name: a, respond: {} }\nconsumers: [{ name: x }, { name: x }]",
      ),
      ['3:13 the route "a" is here twice', '4:34 the consumer "x" is here twice'],
    );
  });

  it("of services differ in more than case, since they are hosts", async () => {
    assert.deepEqual(await linesOf("services:\n  a: { endpoints: [] }\n  A: { endpoints: [] }"), [
      '3:3 differs from "a" only in case',
    ]);
  });
});

describe("services", () => {
  it("have each endpoint once", async () => {
    assert.deepEqual(await linesOf('services: { a: { endpoints: ["h:1", { address: "H:1" }] } }'), [
      "1:37 the endpoint H:1 is here twice",
    ]);
  });

  it("have an endpoint with a weight", async () => {
    assert.deepEqual(
      await linesOf('services: { a: { endpoints: [{ address: "h:1", weight: 0 }] } }'),
      ["1:29 every weight is 0"],
    );
  });

  it("speak mTLS only with an identity, and not beside TLS", async () => {
    assert.deepEqual(await linesOf("services: { a: { endpoints: [], mtls: true } }"), [
      '1:39 mTLS needs an identity, and there is no "mesh" block',
    ]);
    assert.deepEqual(await linesOf("services: { a: { endpoints: [], mtls: true, tls: {} } }"), [
      '1:39 mTLS needs an identity, and there is no "mesh" block',
      '1:50 "tls" cannot stand beside mtls: true',
    ]);
  });
});

describe("consumers", () => {
  it("have keys of their own", async () => {
    assert.deepEqual(
      await linesOf(
        `consumers:\n  - { name: a, keys: ["${hash("a")}"] }\n  - { name: b, keys: ["${hash("b")}", "${hash("a")}"] }`,
      ),
      ['3:98 this key is also one of "a"'],
    );
  });

  it("have a plan that exists", async () => {
    assert.deepEqual(
      await linesOf("plans: { gold: { limit: 1/s } }\nconsumers: [{ name: a, plan: golf }]"),
      ['2:30 no plan is named "golf"'],
    );
  });
});

describe("the admin API", () => {
  it("needs a token off loopback", async () => {
    assert.deepEqual(await linesOf('admin: { address: "0.0.0.0:9901" }'), [
      "1:19 the admin API on 0.0.0.0 would be open to others",
    ]);
    for (const address of ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1"])
      await configOf(`admin: { address: "${address}" }`);
    await configOf('admin: { address: "0.0.0.0:9901", token: t }');
  });

  it("is not said to be open when it is the token that could not be read", async () => {
    assert.deepEqual(await linesOf('admin: { address: "0.0.0.0:9901", token: "${NOPE}" }'), [
      "1:42 environment variable NOPE is not set",
    ]);
  });
});

describe("policies", () => {
  it("have a base that is no longer than its maximum, wherever they are written", async () => {
    assert.deepEqual(
      await linesOf("policies: { a: { retry: { backoff: { base: 2s, max: 1s } } } }"),
      ['1:44 is longer than "max"'],
    );
    assert.deepEqual(
      await linesOf(
        "services: { a: { endpoints: [], policy: { ejection: { base: 2s, max: 1s } } } }",
      ),
      ['1:61 is longer than "max"'],
    );
    assert.deepEqual(
      await linesOf("routes: [{ respond: {}, policy: { ejection: { base: 2s, max: 1s } } }]"),
      ['1:53 is longer than "max"'],
    );
  });

  it("keep only what was written", async () => {
    const config = await configOf("policies: { a: { timeout: 0, retry: { attempts: 0 } }, b: {} }");
    assert.deepEqual(config.policies, { a: { timeoutMs: 0, retry: { attempts: 0 } }, b: {} });
  });
});

describe("a sidecar", () => {
  it("needs an identity, and an app for what comes in", async () => {
    assert.deepEqual(await linesOf("mesh: { service: a }", { mode: "mesh" }), [
      '1:7 "identity" is missing',
    ]);
    assert.deepEqual(
      await linesOf('mesh: { service: a, inbound: "0.0.0.0:1" }', { mode: "mesh" }),
      ['1:7 "identity" is missing', '1:30 there is no "app" to hand inbound requests to'],
    );
  });
});

describe("the ports of a sidecar", () => {
  const mesh = (rest: string): string => `mesh: { service: a, ${rest} }`;

  it("are its own", async () => {
    assert.deepEqual(
      await linesOf(
        mesh('app: "127.0.0.1:3000", outbound: "127.0.0.1:15006", inbound: "0.0.0.0:15006"'),
      ),
      ["1:82 port 15006 is taken by mesh.outbound"],
    );
  });

  it("do not lead back to itself", async () => {
    assert.deepEqual(await linesOf(mesh('app: "127.0.0.1:15006", inbound: "0.0.0.0:15006"')), [
      "1:26 is mesh.inbound itself: a request would go round in circles",
    ]);
    assert.deepEqual(await linesOf(mesh('app: "10.0.0.9:15006", inbound: "0.0.0.0:15006"')), [
      '1:7 "identity" is missing',
    ]);
  });
});

describe("enforced plugins", () => {
  it("are on", async () => {
    assert.deepEqual(await linesOf("plugins: [{ cors: {}, enforced: true, enabled: false }]"), [
      "1:48 an enforced plugin cannot be off",
    ]);
  });
});
