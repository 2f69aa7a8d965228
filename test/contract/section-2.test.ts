/** CONTRACT section 2: the configuration that it shows, as far as it is built, and what check says to those who mistype it. */

import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { weft, type Ended } from "../cmd/cli.ts";
import { root } from "../support/source-tree.ts";
import { signed, testAuthority } from "../support/certificates.ts";

const whole = `
gateway:
  listeners:
    - { name: web, port: 8080 }
    - name: secure
      port: 8443
      tls:
        certificates: [{ cert: certs/api.crt, key: certs/api.key }]
        clientAuth: { ca: certs/clients.crt, mode: require }
    - { name: db, port: 5432, protocol: tcp, to: postgres }
    - { name: passthrough, port: 9443, protocol: tls, sni: { "a.example.com": orders, "*.b.example.com": orders-next } }
  trustedHops: 0
  limits: { connections: 10000, headerBytes: 60KiB, headerCount: 100, headerTimeout: 10s, idleTimeout: 75s }

services:
  postgres: { endpoints: [127.0.0.1:5433], protocol: tcp }
  orders-next: { endpoints: [], protocol: auto }
  h2: { endpoints: [127.0.0.1:5433], protocol: http2 }
  orders:
    endpoints: [127.0.0.1:3001, { address: "127.0.0.1:3002", weight: 2 }]
    protocol: http1
    tls: { ca: certs/ca.crt, serverName: orders.internal }
    policy: patient
    health: { path: /healthz, interval: 5s, timeout: 1s, healthy: 2, unhealthy: 3 }

routes:
  - name: orders
    hosts: [api.example.com, "*.example.org"]
    match:
      path: /orders
      methods: [GET, POST]
      headers: { x-canary: "1", x-b: { regex: "^a" }, x-c: { present: true } }
      query: { v: "2" }
    to: [{ service: orders, weight: 90 }, { service: orders-next, weight: 10 }]
    rewrite: { prefix: / }
    plugins:
      - jwt: { issuer: https://id.example.com/, audience: api }
      - rate-limit: { limit: 100/min, by: consumer }
      - ./plugins/tenant.ts: { header: x-tenant }
        when: method != "OPTIONS"
    policy: { timeout: 5s, retry: { attempts: 2 } }
  - { name: re, match: [{ path: { regex: '^/v\\d+/' } }, { path: { template: '/orders/{id}' } }], to: orders, rewrite: { path: /x, host: h } }
  - { name: old, match: { path: /v1 }, redirect: { path: /orders, status: 308 } }
  - { name: ping, match: { path: { exact: /ping } }, respond: { status: 200, body: pong } }
  - { name: bff, match: { path: /home }, app: ./apps/home.ts }

plugins: [{ request-id: {}, enforced: true }]

policies:
  default: { timeout: 15s }
  patient:
    timeout: 30s
    totalTimeout: 10m
    attemptTimeout: 5s
    idleTimeout: 5m
    retry: { attempts: 2, on: [connect-failure, reset-before-response, refused-stream, 502, 503, 504], backoff: { base: 25ms, max: 250ms }, budget: { percent: 20, floor: 10/s } }
    balance: ewma
    ejection: { consecutive: 5, base: 1s, max: 60s, maxEjectedPct: 50 }
  turns: { balance: round-robin }

consumers:
  - { name: acme, keys: ["sha256:2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683"], plan: gold, groups: [partners] }
plans: { gold: { limit: 1000/min }, free: { limit: 10/min } }

stores: { redis: "redis://127.0.0.1:6379" }

mesh:
  service: orders
  app: 127.0.0.1:3000
  outbound: 127.0.0.1:15001
  inbound: 0.0.0.0:15006
  advertise: 10.0.0.7:15006
  trustDomain: weft.local
  mtls: strict
  identity: { cert: certs/api.crt, key: certs/api.key, bundle: certs/ca.crt }

access:
  default: deny
  rules:
    - { to: orders, from: [web, "spiffe://other.domain/service/x"], methods: [GET], paths: [/orders/*] }
    - { to: orders, from: [batch], action: deny }
    - { to: orders, from: [beta], action: shadow }

admin: { address: 127.0.0.1:9901, token: "\${WEFT_ADMIN_TOKEN}" }
observe:
  accessLog: { format: json, when: "true", sample: 1 }
drainTimeout: 30s
workers: auto
`;

let folder: string;

before(async () => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "weft-contract-"));
  const authority = await testAuthority();
  const own = await signed(authority, { uris: ["spiffe://weft.local/service/orders"] });
  const files: Record<string, string> = {
    "certs/api.crt": own.cert,
    "certs/api.key": own.key,
    "certs/ca.crt": authority.cert,
    "certs/clients.crt": authority.cert,
    "plugins/tenant.ts": fs.readFileSync(path.join(root, "examples/plugins/tenant.ts"), "utf8"),
    "apps/home.ts": `export default { fetch: () => new Response("home") };`,
  };
  for (const [name, text] of Object.entries(files)) {
    fs.mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
    fs.writeFileSync(path.join(folder, name), text);
  }
});
after(() => fs.rmSync(folder, { recursive: true, force: true }));

/** `weft check` of the whole configuration with one piece of its text replaced. */
function checkWith(from: string, to: string): Promise<Ended> {
  assert.ok(whole.includes(from), from);
  return check(whole.replace(from, to));
}

function check(text: string, env: NodeJS.ProcessEnv = { WEFT_ADMIN_TOKEN: "secret" }) {
  fs.writeFileSync(path.join(folder, "weft.yaml"), text);
  return weft(["check", "-c", "weft.yaml"], { cwd: folder, env });
}

test("the configuration of the contract, without what is not built yet, is fine", async () => {
  assert.deepEqual(await check(whole), { code: 0, stdout: "weft.yaml: fine\n", stderr: "" });
});

describe("check names the place, the text and what was meant:", () => {
  for (const [what, from, to, at, said] of [
    ["a key", "trustedHops: 0", "trustedHop: 0", "trustedHop", /did you mean "trustedHops"/],
    ["a duration", "timeout: 5s", "timeout: 5", "5", /did you mean "5s"/],
    ["a size", "headerBytes: 60KiB", "headerBytes: 60kb", "60kb", /did you mean "60KiB"/],
    [
      "a plan's rate",
      "limit: 1000/min }",
      "limit: 1000/minute }",
      "1000/minute",
      /did you mean "1000\/min"/,
    ],
    [
      "a limit's rate",
      "limit: 100/min,",
      "limit: 100/minute,",
      "100/minute",
      /did you mean "100\/min"/,
    ],
    ["a plugin", "- rate-limit:", "- ratelimit:", "ratelimit", /did you mean "rate-limit"/],
    ["a plugin's option", "audience: api", "audiense: api", "audiense", /did you mean "audience"/],
    [
      "an option of a plugin of one's own",
      "{ header: x-tenant }",
      "{ heder: x-tenant }",
      "heder",
      /did you mean "header"/,
    ],
    [
      "a service",
      "service: orders-next",
      "service: orders-nxt",
      "orders-nxt",
      /did you mean "orders-next"/,
    ],
    [
      "a balancer",
      "balance: round-robin",
      "balance: roundrobin",
      "roundrobin",
      /did you mean "round-robin"/,
    ],
    [
      "a cause of retries",
      "[connect-failure,",
      "[conect-failure,",
      "conect-failure",
      /did you mean "connect-failure"/,
    ],
    ["a file", "cert: certs/api.crt", "cert: certs/app.crt", "certs/app.crt", /does not exist/],
    [
      "a certificate that is none",
      "cert: certs/api.crt",
      "cert: weft.yaml",
      "weft.yaml",
      /not a PEM certificate/,
    ],
    [
      "an identity that is none",
      "identity: { cert: certs/api.crt",
      "identity: { cert: certs/ca.crt",
      "certs/api.key",
      /key/,
    ],
  ] as const)
    test(what, async () => {
      const { code, stderr } = await checkWith(from, to);
      assert.equal(code, 1);
      const text = whole.replace(from, to);
      const offset = text.indexOf(to) + to.lastIndexOf(at);
      const before = text.slice(0, offset).split("\n");
      if (!what.startsWith("an identity"))
        assert.match(
          stderr,
          new RegExp(`^weft\\.yaml:${before.length}:${before.at(-1)!.length + 1}: `),
        );
      assert.ok(stderr.includes(text.split("\n")[before.length - 1]!.trim().slice(0, 30)), stderr);
      assert.match(stderr, said);
    });

  test("a variable that is not set", async () => {
    const { code, stderr } = await check(whole, { WEFT_ADMIN_TOKEN: undefined });
    assert.equal(code, 1);
    assert.match(
      stderr,
      /^weft\.yaml:\d+:42: admin\.token: environment variable WEFT_ADMIN_TOKEN is not set/,
    );
  });
});
