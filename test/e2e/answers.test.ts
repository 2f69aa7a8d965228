/** The answers that weft makes itself: one form for programs, one for browsers, one for gRPC; the same code everywhere. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";
import { answering, ok, Origin } from "../support/origin.ts";

let gateway: Gateway;
let origin: Origin;
before(async () => {
  origin = await Origin.start(answering(() => ok("ok")));
  gateway = await Gateway.start({
    ports: 2,
    config: ({ port, admin }) => `
gateway: { listeners: [{ name: web, host: 127.0.0.1, port: ${port[0]} }] }
services:
  up: { endpoints: ["${origin.address}"] }
  down: { endpoints: ["127.0.0.1:${port[1]}"], policy: { retry: { attempts: 0 } } }
  none: { endpoints: [] }
routes:
  - { name: up, match: { path: /up, methods: [GET, HEAD] }, to: up }
  - { name: down, match: { path: /down }, to: down }
  - { name: none, match: { path: /none }, to: none }
  - { name: key, match: { path: /key }, to: up, plugins: [api-key] }
  - { name: group, match: { path: /group }, to: up, plugins: [{ api-key: {} }, { acl: { allow: [admins] } }] }
  - { name: limited, match: { path: /limited }, to: up, plugins: [{ rate-limit: { limit: 1/min } }] }
  - { name: small, match: { path: /small }, to: up, plugins: [{ body-limit: { bytes: 3 } }] }
consumers:
  - { name: acme, keys: ["sha256:${"2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683"}"] }
admin: { address: "127.0.0.1:${admin}" }
workers: 1
`,
  });
});
after(async () => {
  await gateway?.stop();
  await origin.close();
});

interface Want {
  readonly start: string;
  readonly fields?: readonly string[];
  readonly body?: string;
  readonly status: number;
  readonly code: string;
  readonly grpc: number;
  readonly also?: Readonly<Record<string, RegExp>>;
}

const wanted: Record<string, Want> = {
  "no route": { start: "GET /nowhere", status: 404, code: "no-route", grpc: 12 },
  "only the method differs": {
    start: "POST /up",
    fields: ["Content-Length: 0"],
    status: 405,
    code: "method-not-allowed",
    grpc: 12,
    also: { allow: /^GET, HEAD$/ },
  },
  "no credential": {
    start: "GET /key",
    status: 401,
    code: "unauthenticated",
    grpc: 16,
    also: { "www-authenticate": /\S/ },
  },
  "a bad credential": {
    start: "GET /key",
    fields: ["x-api-key: wrong"],
    status: 401,
    code: "unauthenticated",
    grpc: 16,
    also: { "www-authenticate": /\S/ },
  },
  "the wrong group": {
    start: "GET /group",
    fields: ["x-api-key: key"],
    status: 403,
    code: "forbidden",
    grpc: 7,
  },
  "a body too large": {
    start: "POST /small",
    fields: ["Content-Length: 4"],
    body: "four",
    status: 413,
    code: "body-too-large",
    grpc: 8,
  },
  "an endpoint that refuses": {
    start: "GET /down",
    status: 502,
    code: "connect-refused",
    grpc: 14,
  },
  "no endpoint": {
    start: "GET /none",
    status: 503,
    code: "no-endpoint",
    grpc: 14,
    also: { "retry-after": /^\d+$/ },
  },
};

async function ask(want: Want, ...extra: string[]) {
  using client = await gateway.connect();
  const fields = [...(want.fields ?? []), ...extra].map((line) => `${line}\r\n`).join("");
  await client.send(
    `${want.start} HTTP/1.1\r\nHost: api.example.com\r\n${fields}\r\n${want.body ?? ""}`,
  );
  return await client.response();
}

for (const [name, want] of Object.entries(wanted)) {
  describe(`${name}:`, () => {
    test("a program gets a problem document", async () => {
      const answer = await ask(want);
      assert.equal(answer.status, want.status);
      assert.match(answer.header("content-type")!, /^application\/problem\+json/);
      const problem = JSON.parse(answer.body) as Record<string, unknown>;
      assert.equal(problem["code"], want.code);
      assert.equal(problem["status"], want.status);
      assert.match(String(problem["type"]), new RegExp(`^https?://.*${want.code}$`));
      assert.equal(typeof problem["title"], "string");
      assert.match(String(problem["detail"]), /\S+ \S+/);
      assert.equal(typeof problem["instance"], "string");
      assert.match(answer.header("proxy-status")!, /^weft; error=[a-z_]+/);
      for (const [field, pattern] of Object.entries(want.also ?? {}))
        assert.match(answer.header(field) ?? "", pattern, field);
    });

    test("a browser gets a page", async () => {
      const answer = await ask(want, "Accept: text/html,application/xhtml+xml,*/*;q=0.8");
      assert.equal(answer.status, want.status);
      assert.match(answer.header("content-type")!, /^text\/html/);
      assert.ok(answer.body.includes(want.code));
      assert.match(answer.header("proxy-status")!, /^weft; error=/);
    });

    test("a gRPC caller gets 200 with its status in trailers only", async () => {
      const answer = await ask(want, "Content-Type: application/grpc", "TE: trailers");
      assert.equal(answer.status, 200);
      assert.equal(answer.header("grpc-status"), String(want.grpc));
      assert.equal(answer.header("content-type"), "application/grpc");
      assert.match(answer.header("grpc-message")!, /\S/);
      assert.equal(answer.body, "");
    });

    test("the metrics count it under its code", async () => {
      await eventually(
        `weft_requests_total with code ${want.code}`,
        async () =>
          (await gateway.metric("weft_requests_total", {
            code: want.code,
            status: String(want.status),
          })) > 0,
      );
    });
  });
}

test("HEAD gets the head of the problem and no body", async () => {
  using client = await gateway.connect();
  await client.send("HEAD /nowhere HTTP/1.1\r\nHost: x\r\n\r\nGET /up HTTP/1.1\r\nHost: x\r\n\r\n");
  assert.equal((await client.response({ noBody: true })).status, 404);
  assert.equal((await client.response()).body, "ok");
});

test("an answer of weft's own leaves the connection usable", async () => {
  using client = await gateway.connect();
  for (const path of ["/nowhere", "/key", "/none", "/up"]) {
    await client.send(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
    await client.response();
  }
  assert.equal(client.ended, false);
});

test("over the limit: 429 with Retry-After and the RateLimit fields", async () => {
  using client = await gateway.connect();
  const get = "GET /limited HTTP/1.1\r\nHost: x\r\n\r\n";
  await client.send(get);
  const first = await client.response();
  assert.equal(first.status, 200);
  assert.equal(first.header("ratelimit-policy"), '"default";q=1;w=60');
  assert.match(first.header("ratelimit")!, /^"default";r=0;t=\d+$/);
  await client.send(get);
  const second = await client.response();
  assert.equal(second.status, 429);
  assert.equal(second.code, "rate-limited");
  assert.match(second.header("retry-after")!, /^\d+$/);
  assert.match(second.header("ratelimit")!, /^"default";r=0;t=\d+$/);
});

test("markup in a path is text in the page", async () => {
  const answer = await ask(
    { start: "GET /<script>alert(1)</script>", status: 404, code: "no-route", grpc: 12 },
    "Accept: text/html",
  );
  assert.equal(answer.status, 404);
  assert.doesNotMatch(answer.body, /<script>/);
});

test("the request id of the answer is in its instance", async () => {
  const answer = await ask(wanted["no route"]!);
  const problem = JSON.parse(answer.body) as { instance: string };
  assert.equal(answer.header("x-request-id"), problem.instance);
});
