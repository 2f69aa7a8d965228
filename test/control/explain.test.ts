import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { explain, formatExplanation, type Explanation } from "../../control/explain.ts";
import { configOf } from "./loading.ts";

const text = `
gateway: { listeners: [{ port: 8080 }] }
services:
  orders: { endpoints: ["127.0.0.1:3001", "127.0.0.1:3002"], policy: { attemptTimeout: 2s } }
  next: { endpoints: ["127.0.0.1:3003"] }
plugins: [request-id]
routes:
  - name: orders
    hosts: [api.example.com]
    match: { path: /orders, methods: [GET, POST] }
    to: [{ service: next, weight: 10 }, { service: orders, weight: 90 }]
    rewrite: { prefix: /v2 }
    plugins:
      - headers: { request: { set: { x-a: "1" } } }
      - rate-limit: { limit: 100/min }
      - cors: { origins: ["https://a.com"] }
    policy: { timeout: 5s, retry: { attempts: 2 } }
  - { name: canary, match: { path: /orders, headers: { x-canary: "1" } }, to: next }
  - { name: version, match: { path: /orders, query: { v: { regex: "^2" } } }, to: next }
  - { name: exact, match: { path: { exact: /ping } }, respond: { body: pong } }
  - { name: item, match: { path: { template: "/orders/{id}" } }, to: next }
  - { name: old, match: { path: { regex: "^/v\\\\d+/" } }, redirect: { prefix: /orders, status: 308 } }
  - { name: wild, hosts: ["*.example.com"], match: { path: /orders }, to: next }
  - { name: rest, to: next }
  - { name: last, to: next }
`;

async function ask(
  method: string,
  url: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<Explanation> {
  const answer = await explain(await configOf(text), { method, url, headers }, { mode: "gateway" });
  assert.ok(typeof answer !== "string", String(answer));
  return answer;
}

function why(explanation: Explanation): Readonly<Record<string, string>> {
  return Object.fromEntries(explanation.lost.map((one) => [one.route, one.why]));
}

describe("an explanation", () => {
  it("names the route, its plugins in run order, timeouts, retry, service and endpoints", async () => {
    const answer = await ask("GET", "http://api.example.com/orders/1?x=1");
    assert.equal(answer.route, "orders");
    assert.deepEqual(answer.plugins, ["request-id", "cors", "rate-limit", "headers"]);
    assert.deepEqual(answer.timeouts, {
      timeoutMs: 5_000,
      totalTimeoutMs: null,
      attemptTimeoutMs: 2_000,
      connectTimeoutMs: 5_000,
      idleTimeoutMs: 300_000,
    });
    assert.equal(answer.retry?.attempts, 2);
    assert.equal(answer.service, "orders");
    assert.deepEqual(answer.endpoints, [
      { service: "orders", address: "127.0.0.1:3001" },
      { service: "orders", address: "127.0.0.1:3002" },
      { service: "next", address: "127.0.0.1:3003" },
    ]);
    assert.equal(answer.upstreamTarget, "/v2/1?x=1");
  });

  it("says why each other route lost", async () => {
    const answer = await ask("GET", "http://api.example.com/orders/1?v=1");
    assert.deepEqual(why(answer), {
      canary: 'header x-canary is absent, not "1"',
      version: 'query parameter v is "1" and does not match ^2',
      exact: "path /orders/1 is not exactly /ping",
      item: "matches too, but any host is less specific than api.example.com",
      old: "path /orders/1 does not match ^/v\\d+/",
      wild: "matches too, but *.example.com is less specific than api.example.com",
      rest: "matches too, but any host is less specific than api.example.com",
      last: "matches too, but any host is less specific than api.example.com",
    });
  });

  it("compares paths, predicates and places within a host", async () => {
    const item = await ask("GET", "http://h/orders/1?v=2", { "X-Canary": "1" });
    assert.equal(item.route, "item");
    assert.equal(
      why(item)["canary"],
      "matches too, but prefix /orders is less specific than template /orders/{id}",
    );
    const canary = await ask("GET", "http://h/orders?v=2", { "x-canary": "1" });
    assert.equal(canary.route, "canary");
    assert.equal(why(canary)["version"], "matches too, but asks for 0 headers, canary for 1");
    assert.equal(why(canary)["item"], "path /orders does not have the form /orders/{id}");
    const rest = await ask("GET", "http://h/");
    assert.equal(rest.route, "rest");
    assert.equal(why(rest)["last"], "matches too, but stands later in the file");
    assert.equal(why(rest)["orders"], "host h is not api.example.com");
  });

  it("says what weft answers itself", async () => {
    const ping = await ask("GET", "http://h/ping");
    assert.deepEqual([ping.status, ping.service, ping.retry], [200, null, null]);
    const old = await ask("GET", "http://h/v1/a?b");
    assert.equal(old.action, "answered 308 with location /orders/a?b");
    const refused = await ask("GET", "http://h/a%2Fb");
    assert.deepEqual([refused.route, refused.status], [null, 400]);
    assert.match(refused.action, /encoded slash/);
  });

  it("takes a path with a host header, and a fragment for what it is", async () => {
    const answer = await ask("GET", "/orders#top", { Host: "api.example.com:8080" });
    assert.equal(answer.route, "orders");
    assert.equal(answer.request?.host, "api.example.com");
  });

  it("knows 404 and 405", async () => {
    const config = await configOf(`gateway: { listeners: [{ port: 8080 }] }
plugins: [request-id]
routes: [{ name: a, match: { path: /a, methods: [GET] }, respond: {} }]`);
    const of = async (method: string, url: string) =>
      (await explain(config, { method, url, headers: {} }, { mode: "gateway" })) as Explanation;
    const method = await of("PUT", "http://h/a");
    assert.deepEqual([method.status, method.allow, method.route], [405, ["GET"], null]);
    assert.deepEqual(method.lost, [{ route: "a", why: "method PUT is not GET" }]);
    assert.deepEqual((await of("PUT", "http://h/b")).status, 404);
    assert.deepEqual(method.plugins, ["request-id"]);
  });

  it("shows the live state of endpoints where it is known", async () => {
    const config = await configOf(text);
    const answer = await explain(
      config,
      { method: "GET", url: "http://h/", headers: {} },
      {
        mode: "gateway",
        endpoints: () => [
          { address: "127.0.0.1:3003", healthy: false, state: "ejected", ejectedUntilMs: 0 },
        ],
      },
    );
    assert.deepEqual((answer as Explanation).endpoints, [
      {
        service: "next",
        address: "127.0.0.1:3003",
        healthy: false,
        state: "ejected",
        ejectedUntil: "1970-01-01T00:00:00.000Z",
      },
    ]);
  });

  it("reads the routes that a mesh implies", async () => {
    const config = await configOf("services: { orders: { endpoints: ['10.0.0.1:1'] } }");
    const answer = await explain(
      config,
      { method: "GET", url: "http://orders/x", headers: {} },
      { mode: "mesh" },
    );
    assert.deepEqual(
      [(answer as Explanation).route, (answer as Explanation).retry?.attempts],
      ["orders", 2],
    );
  });

  it("is a sentence when the question makes no sense", async () => {
    const config = await configOf(text);
    for (const url of ["nope", "ftp://h/", ""]) {
      const answer = await explain(
        config,
        { method: "GET", url, headers: {} },
        { mode: "gateway" },
      );
      assert.match(String(answer), /neither http:\/\/host\/path nor a path/);
    }
  });

  it("reads well as text", async () => {
    const lines = formatExplanation(await ask("GET", "http://api.example.com/orders/1")).split(
      "\n",
    );
    assert.deepEqual(lines.slice(0, 9), [
      "GET api.example.com/orders/1",
      "route orders: sent to next (weight 10) or orders (weight 90)",
      "  target: /v2/1",
      "  plugins: request-id -> cors -> rate-limit -> headers",
      "  timeouts: timeout 5s, attemptTimeout 2s, connectTimeout 5s, idleTimeout 5m",
      "  retry: 2 times on connect-failure, reset-before-response, refused-stream, 502, 503, 504; budget 20 % and 10/s",
      "  service orders: 127.0.0.1:3001, 127.0.0.1:3002",
      "  service next: 127.0.0.1:3003",
      "other routes",
    ]);
    assert.ok(lines.includes('  canary   header x-canary is absent, not "1"'), lines.join("\n"));
  });
});
