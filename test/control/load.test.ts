import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { formatProblems, loadConfig } from "../../control/load.ts";
import { configOf, folder, linesOf, problemOf } from "./loading.ts";

const whole = `
gateway:
  listeners:
    - { name: web, port: 8080 }
    - name: secure
      host: 127.0.0.1
      port: 8443
      tls:
        certificates: [{ cert: certs/api.crt, key: certs/api.key }]
        clientAuth: { ca: certs/clients.crt, mode: optional }
  trustedHops: 1
  limits: { connections: 500, headerBytes: 32KiB, headerCount: 50, headerTimeout: 2s, idleTimeout: 1m }
services:
  orders:
    endpoints: [127.0.0.1:3001, { address: "[::1]:3002", weight: 2 }]
    protocol: http1
    tls: { ca: certs/ca.crt, serverName: orders.internal }
    policy: patient
    health: { path: /healthz, interval: 5s, timeout: 1s, healthy: 2, unhealthy: 3 }
  orders-next: { endpoints: [] }
routes:
  - name: orders
    hosts: [API.example.com, "*.b.example.com"]
    match:
      path: /orders
      methods: [GET, POST]
      headers: { x-canary: "1", x-any: { present: true }, x-re: { regex: "^a+$" } }
      query: { v: "2" }
    to: [{ service: orders, weight: 90 }, { service: orders-next, weight: 10 }]
    rewrite: { prefix: / }
    plugins:
      - request-id: { header: x-id }
      - ./plugins/tenant.ts: { header: x-tenant }
        when: method != "OPTIONS"
        id: one
        stage: authz
        before: cors
        after: [a, b]
        onError: open
        enabled: false
    policy: { timeout: 5s, retry: { attempts: 2 } }
  - { name: old, match: { path: /v1 }, redirect: { path: /orders, status: 308 } }
  - { name: ping, match: [{ path: { exact: /ping } }, { path: { template: "/p/{x}" } }], respond: { body: pong } }
  - { match: { path: { regex: '^/v\\d+/' } }, app: ./apps/home.ts }
  - to: orders
plugins: [request-id, { cors: {}, enforced: true }]
policies:
  default: { timeout: 15s }
  patient:
    timeout: 30s
    totalTimeout: 10m
    attemptTimeout: 5s
    idleTimeout: 5m
    retry: { attempts: 2, on: [connect-failure, 502], backoff: { base: 25ms, max: 250ms }, budget: { percent: 20, floor: 10/s } }
    balance: round-robin
    ejection: { consecutive: 5, base: 1s, max: 60s, maxEjectedPct: 50 }
consumers:
  - { name: acme, keys: ["sha256:${"ab".repeat(32)}"], plan: gold, groups: [partners] }
plans: { gold: { limit: 1000/min } }
stores: { redis: "redis://127.0.0.1:6379" }
mesh:
  service: orders
  app: 127.0.0.1:3000
  advertise: 10.0.0.7:15006
  identity: { cert: certs/a.crt, key: certs/a.key, bundle: certs/b.crt }
access:
  default: deny
  rules:
    - { to: orders, from: [web, "spiffe://other.domain/service/x"], methods: [GET], paths: [/orders/*] }
    - { to: orders, from: [beta], action: shadow }
admin: { address: "0.0.0.0:9901", token: "\${T:-secret}" }
observe: { accessLog: { format: text, when: "true", sample: 0.5 } }
drainTimeout: 10s
workers: 4
`;

const files = Object.fromEntries(
  [
    "certs/api.crt",
    "certs/api.key",
    "certs/clients.crt",
    "certs/ca.crt",
    "certs/a.crt",
    "certs/a.key",
    "certs/b.crt",
    "plugins/tenant.ts",
    "apps/home.ts",
  ].map((name) => [name, ""]),
);

describe("a file with everything in it", () => {
  it("becomes a configuration with numbers for units, absolute files and defaults", async (t) => {
    const path = await folder(t, { ...files, "weft.yaml": whole });
    const result = await loadConfig(join(path, "weft.yaml"), { mode: "mesh", env: {} });
    assert.ok(result.ok, result.ok ? "" : formatProblems(result.problems, { color: false }));
    const { config } = result;
    assert.deepEqual(config.gateway, {
      listeners: [
        {
          name: "web",
          host: null,
          port: 8080,
          protocol: "http",
          tls: null,
          proxyProtocol: false,
          plugins: [],
          to: null,
          sni: null,
        },
        {
          name: "secure",
          host: "127.0.0.1",
          port: 8443,
          tls: {
            certificates: [{ cert: join(path, "certs/api.crt"), key: join(path, "certs/api.key") }],
            clientAuth: { ca: join(path, "certs/clients.crt"), mode: "optional" },
          },
          protocol: "http",
          proxyProtocol: false,
          plugins: [],
          to: null,
          sni: null,
        },
      ],
      trustedHops: 1,
      zone: null,
      limits: {
        connections: 500,
        headerBytes: 32_768,
        headerCount: 50,
        headerTimeoutMs: 2000,
        idleTimeoutMs: 60_000,
      },
    });
    assert.deepEqual(config.services["orders"]?.endpoints, [
      { address: "127.0.0.1:3001", host: "127.0.0.1", port: 3001, weight: 1 },
      { address: "[::1]:3002", host: "::1", port: 3002, weight: 2 },
    ]);
    assert.deepEqual(config.services["orders"]?.tls, {
      ca: join(path, "certs/ca.crt"),
      serverName: "orders.internal",
    });
    assert.deepEqual(config.services["orders"]?.health, {
      path: "/healthz",
      intervalMs: 5000,
      timeoutMs: 1000,
      healthy: 2,
      unhealthy: 3,
    });
    assert.deepEqual(config.services["orders-next"], {
      endpoints: [],
      tls: null,
      mtls: null,
      protocol: "http1",
      policy: null,
      proxyProtocol: null,
      health: null,
    });
    const [orders, old, ping, home, last] = config.routes;
    assert.deepEqual(orders?.hosts, ["api.example.com", "*.b.example.com"]);
    assert.deepEqual(orders?.match, [
      {
        path: { kind: "prefix", value: "/orders" },
        methods: ["GET", "POST"],
        headers: {
          "x-canary": { kind: "exact", value: "1" },
          "x-any": { kind: "present", value: true },
          "x-re": { kind: "regex", value: "^a+$" },
        },
        query: { v: { kind: "exact", value: "2" } },
      },
    ]);
    assert.deepEqual(orders?.to, [
      { service: "orders", weight: 90 },
      { service: "orders-next", weight: 10 },
    ]);
    assert.deepEqual(orders?.rewrite, { prefix: "/", path: null, host: null });
    assert.deepEqual(orders?.policy, { timeoutMs: 5000, retry: { attempts: 2 } });
    assert.deepEqual(orders?.plugins[1], {
      use: join(path, "plugins/tenant.ts"),
      options: { header: "x-tenant" },
      id: "one",
      when: 'method != "OPTIONS"',
      onError: "open",
      stage: "authz",
      before: ["cors"],
      after: ["a", "b"],
      enabled: false,
      enforced: false,
      path: ["routes", 0, "plugins", 1],
      optionsPath: ["routes", 0, "plugins", 1, "./plugins/tenant.ts"],
    });
    assert.deepEqual(old?.redirect, {
      scheme: null,
      host: null,
      port: null,
      path: "/orders",
      prefix: null,
      status: 308,
    });
    assert.deepEqual(ping?.respond, { status: 200, body: "pong", headers: {} });
    assert.deepEqual(
      ping?.match.map((match) => match.path),
      [
        { kind: "exact", value: "/ping" },
        { kind: "template", value: "/p/{x}" },
      ],
    );
    assert.equal(home?.app, join(path, "apps/home.ts"));
    assert.equal(home?.name, "route-4");
    assert.deepEqual(last?.to, [{ service: "orders", weight: 1 }]);
    assert.deepEqual(last?.match, []);
    assert.deepEqual(
      config.plugins.map((plugin) => [plugin.use, plugin.enforced]),
      [
        ["request-id", false],
        ["cors", true],
      ],
    );
    assert.deepEqual(config.policies["patient"], {
      timeoutMs: 30_000,
      totalTimeoutMs: 600_000,
      attemptTimeoutMs: 5000,
      idleTimeoutMs: 300_000,
      retry: {
        attempts: 2,
        on: ["connect-failure", "502"],
        backoff: { baseMs: 25, maxMs: 250 },
        budget: { percent: 20, floor: { limit: 10, windowMs: 1000 } },
      },
      balance: "round-robin",
      ejection: { consecutive: 5, baseMs: 1000, maxMs: 60_000, maxEjectedPct: 50 },
    });
    assert.deepEqual(config.consumers, [
      { name: "acme", keys: [`sha256:${"ab".repeat(32)}`], plan: "gold", groups: ["partners"] },
    ]);
    assert.deepEqual(config.plans, { gold: { limit: { limit: 1000, windowMs: 60_000 } } });
    assert.deepEqual(config.mesh, {
      service: "orders",
      app: { host: "127.0.0.1", port: 3000 },
      outbound: { host: "127.0.0.1", port: 15_001 },
      inbound: { host: "0.0.0.0", port: 15_006 },
      advertise: "10.0.0.7:15006",
      trustDomain: "weft.local",
      mtls: "strict",
      identity: {
        cert: join(path, "certs/a.crt"),
        key: join(path, "certs/a.key"),
        bundle: join(path, "certs/b.crt"),
      },
    });
    assert.deepEqual(config.access?.rules[1], {
      to: "orders",
      from: ["beta"],
      methods: null,
      paths: null,
      action: "shadow",
    });
    assert.deepEqual(config.admin, {
      host: "0.0.0.0",
      port: 9901,
      token: "secret",
      explicit: true,
    });
    assert.deepEqual(config.observe.accessLog, { format: "text", when: "true", sample: 0.5 });
    assert.equal(config.drainTimeoutMs, 10_000);
    assert.equal(config.workers, 4);
    assert.equal(config.baseDir, path);
    assert.deepEqual(structuredClone(config), config);
  });
});

describe("the smallest file", () => {
  it("has the defaults of the contract", async () => {
    const config = await configOf("gateway: { listeners: [{ port: 8080 }] }", { mode: "gateway" });
    assert.deepEqual(config.gateway?.limits, {
      connections: 10_000,
      headerBytes: 61_440,
      headerCount: 100,
      headerTimeoutMs: 10_000,
      idleTimeoutMs: 75_000,
    });
    assert.deepEqual(config.admin, { host: "127.0.0.1", port: 9901, token: null, explicit: false });
    assert.equal(config.drainTimeoutMs, 30_000);
    assert.equal(config.workers, "auto");
    assert.equal(config.observe.accessLog, null);
    assert.equal(config.gateway?.listeners[0]?.name, "port-8080");
  });

  it("is refused by a mode that it has no block for", async () => {
    assert.deepEqual(await linesOf('\nadmin: { address: "127.0.0.1:0" }', { mode: "gateway" }), [
      '2:1 there is no "gateway" block',
    ]);
    assert.deepEqual(await linesOf("gateway: { listeners: [{ port: 1 }] }", { mode: "mesh" }), [
      '1:1 there is no "mesh" block',
    ]);
  });

  it("may be a sidecar that only calls", async (t) => {
    const path = await folder(t, {
      a: "",
      "weft.yaml": "mesh: { service: web, identity: { cert: a, key: a, bundle: a } }",
    });
    const result = await loadConfig(join(path, "weft.yaml"), { mode: "mesh", env: {} });
    assert.ok(
      result.ok &&
        result.config.mesh?.inbound === null &&
        result.config.mesh.outbound?.port === 15_001,
    );
  });

  it("opens no sidecar ports for the identity of a gateway", async (t) => {
    const path = await folder(t, {
      a: "",
      "weft.yaml":
        "gateway: { listeners: [{ port: 0 }] }\nmesh: { service: edge, identity: { cert: a, key: a, bundle: a } }",
    });
    const result = await loadConfig(join(path, "weft.yaml"), { mode: "gateway", env: {} });
    assert.ok(
      result.ok && result.config.mesh?.inbound === null && result.config.mesh.outbound === null,
    );
  });
});

describe("a file that cannot be read", () => {
  const load = async (file: string) => {
    const result = await loadConfig(file, { mode: "check", env: {} });
    assert.ok(!result.ok);
    return formatProblems(result.problems, { color: false });
  };

  it("is named when it is missing, a folder, empty, binary or not UTF-8", async (t) => {
    const path = await folder(t, {
      "empty.yaml": "",
      "blank.yaml": "\n# nothing\n",
      "null.yaml": "---\n",
      "binary.yaml": "a: \0",
      "empty.json": "",
      "list.yaml": "- a",
      "text.yaml": "hello",
    });
    await writeFile(join(path, "latin.yaml"), Buffer.from([0x61, 0x3a, 0x20, 0xe9]));
    assert.match(await load(join(path, "missing.yaml")), /missing\.yaml: the file does not exist/);
    assert.match(await load(path), /this is not a file/);
    for (const name of ["empty.yaml", "blank.yaml", "null.yaml", "empty.json"])
      assert.match(await load(join(path, name)), /:\d+:\d+: the configuration is empty/, name);
    assert.match(await load(join(path, "binary.yaml")), /:1:4: the file holds a control character/);
    assert.match(await load(join(path, "latin.yaml")), /the file is not UTF-8/);
    assert.match(await load(join(path, "list.yaml")), /:1:1: a configuration is a mapping/);
    assert.match(await load(join(path, "text.yaml")), /:1:1: a configuration is a mapping/);
  });

  it("is named when it stands in the configuration", async (t) => {
    const path = await folder(t, {
      "weft.yaml":
        "routes:\n  - app: ./no.ts\n    plugins: [./gone.ts: {}]\nservices: { a: { endpoints: [], tls: { ca: no.crt } } }",
    });
    const text = await load(join(path, "weft.yaml"));
    assert.match(text, /:2:10: routes\[0\]\.app: \S+no\.ts does not exist/);
    assert.match(
      text,
      /:3:15: routes\[0\]\.plugins\[0\]\["\.\/gone\.ts"\]: \S+gone\.ts does not exist/,
    );
    assert.match(text, /:4:44: services\.a\.tls\.ca: \S+no\.crt does not exist/);
  });

  it("is refused unread when it is too large", async (t) => {
    const path = await folder(t, { "big.yaml": `a: ${"x".repeat(10 * 1024 * 1024)}` });
    assert.match(await load(join(path, "big.yaml")), /too large: 11 MiB/);
  });
});

describe("JSON", () => {
  it("is read like YAML", async () => {
    const config = await configOf('{"gateway":{"listeners":[{"port":1}]}}', { format: "json" });
    assert.equal(config.gateway?.listeners[0]?.port, 1);
  });

  it("has its problems at line and column, too", async () => {
    assert.deepEqual(
      await linesOf('{\n  "drainTimeout": 5,\n  "rutes": []\n}', { format: "json" }),
      ["2:19 5 has no unit", '3:3 unknown key "rutes"'],
    );
    assert.deepEqual(await linesOf('{"a": 1, "a": 2}', { format: "json" }), [
      '1:10 the key "a" is here twice',
    ]);
  });

  it("is held to JSON: no comments, no trailing commas, no bare words", async () => {
    const trailing = await problemOf('{\n  "workers": 2,\n}', { format: "json" });
    assert.equal(`${trailing.line}:${trailing.column}`, "3:1");
    assert.match(trailing.message, /^this is not JSON: /);
    for (const text of ["{a: 1}", '{"a": 1} // x', "{'a': 1}", '{"a": 1', "[1,]", '{"a": tru}'])
      assert.match((await problemOf(text, { format: "json" })).message, /not JSON/, text);
  });
});
