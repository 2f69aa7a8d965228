/** `app:` routes: a fetch app in process behind the same framing, limits and abort rules as any service. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";

const app = `
const state = { aborted: 0 };
const encoder = new TextEncoder();
export default {
  async fetch(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    switch (pathname) {
      case "/echo":
        return new Response(await request.text(), { headers: { "x-method": request.method } });
      case "/stream":
        return new Response(
          new ReadableStream({
            start(controller) {
              controller.enqueue(encoder.encode("one "));
              controller.enqueue(encoder.encode("two"));
              controller.close();
            },
          }),
        );
      case "/pipe":
        return new Response(request.body);
      case "/cookies": {
        const headers = new Headers();
        headers.append("set-cookie", "a=1");
        headers.append("set-cookie", "b=2");
        return new Response("x", { headers });
      }
      case "/too-long":
        return new Response("hello HTTP/1.1 200 OK", { headers: { "content-length": "5" } });
      case "/too-short":
        return new Response("hello", { headers: { "content-length": "50" } });
      case "/empty":
        return new Response(null, { status: 204 });
      case "/throws":
        throw new Error("app failed: secret detail");
      case "/junk":
        return "no response" as unknown as Response;
      case "/breaks":
        return new Response(
          new ReadableStream({
            pull(controller) {
              controller.enqueue(encoder.encode("start"));
              controller.error(new Error("broken"));
            },
          }),
        );
      case "/waits":
        return new Promise((_, reject) => {
          request.signal.addEventListener("abort", () => {
            state.aborted++;
            reject(new Error("gone"));
          });
        });
      case "/state":
        return Response.json({ ...state, headers: [...request.headers] });
      case "/large":
        return new Response("z".repeat(2_000_000));
      default:
        return new Response("hello from the app");
    }
  },
};
`;

let gateway: Gateway;
before(async () => {
  gateway = await Gateway.start({
    files: { "apps/home.ts": app },
    config: ({ port, admin }) => `
gateway: { listeners: [{ name: web, host: 127.0.0.1, port: ${port[0]} }] }
routes: [{ name: home, app: ./apps/home.ts, plugins: [request-id] }]
admin: { address: "127.0.0.1:${admin}" }
workers: 1
`,
  });
});
after(() => gateway?.stop());

const head = (start: string, ...lines: string[]) =>
  `${start} HTTP/1.1\r\nHost: home.test\r\n${lines.map((line) => `${line}\r\n`).join("")}\r\n`;

for (const pieces of ["whole", "bytes"] as const) {
  test(`a body goes in and an answer comes out, sent ${pieces}`, async () => {
    using client = await gateway.connect();
    await client.send(head("POST /echo", "Content-Length: 5") + "hello", pieces);
    const first = await client.response();
    assert.equal(first.body, "hello");
    assert.equal(first.header("x-method"), "POST");
    await client.send(
      `${head("PUT /echo", "Transfer-Encoding: chunked")}3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n`,
      pieces,
    );
    assert.equal((await client.response()).body, "abcde");
  });
}

test("a stream arrives chunked, an unread stream too, the connection goes on", async () => {
  using client = await gateway.connect();
  await client.send(
    head("GET /stream") + head("GET /cookies") + head("GET /empty") + head("GET /"),
  );
  const stream = await client.response();
  assert.equal(stream.body, "one two");
  assert.equal(stream.header("transfer-encoding"), "chunked");
  const cookies = await client.response();
  assert.deepEqual(
    cookies.message.fields
      .filter(([name]) => name.toLowerCase() === "set-cookie")
      .map(([, value]) => value),
    ["a=1", "b=2"],
  );
  assert.equal((await client.response()).status, 204);
  assert.equal((await client.response()).body, "hello from the app");
});

test("HEAD gets no body", async () => {
  using client = await gateway.connect();
  await client.send(head("HEAD /") + head("GET /"));
  assert.equal((await client.response({ noBody: true })).status, 200);
  assert.equal((await client.response()).body, "hello from the app");
});

test("an upload is piped through while it is still coming", async () => {
  using client = await gateway.connect();
  await client.send(`${head("POST /pipe", "Transfer-Encoding: chunked")}5\r\nfirst\r\n`);
  await client.has("first");
  await client.send("6\r\nsecond\r\n0\r\n\r\n");
  assert.equal((await client.response()).body, "firstsecond");
});

test("an answer longer than its Content-Length is cut there: nothing of it is read as another answer", async () => {
  using client = await gateway.connect();
  await client.send(head("GET /too-long"));
  const text = await client.untilEnded();
  assert.match(text, /^HTTP\/1\.1 (200|500) /);
  assert.equal(
    text.match(/HTTP\/1\.1 200/g)?.length ?? 0,
    text.startsWith("HTTP/1.1 200") ? 1 : 0,
    text,
  );
});

test("an answer shorter than its Content-Length is cut, so that the caller sees it", async () => {
  using client = await gateway.connect();
  await client.send(head("GET /too-short"));
  const text = await client.untilEnded();
  assert.ok(text.endsWith("hello"));
});

for (const path of ["/throws", "/junk"]) {
  test(`an app that fails (${path}) is a 500 that tells nothing of its inside`, async () => {
    using client = await gateway.connect();
    await client.send(head(`GET ${path}`));
    const answer = await client.response();
    assert.equal(answer.status, 500);
    assert.doesNotMatch(answer.body, /secret detail/);
    await client.send(head("GET /"));
    assert.equal((await client.response()).status, 200);
  });
}

test("a stream that breaks is cut, so that the caller sees it", async () => {
  using client = await gateway.connect();
  await client.send(head("GET /breaks"));
  const text = await client.untilEnded();
  assert.ok(!text.endsWith("0\r\n\r\n"), text);
});

test("a caller that leaves aborts the app's signal", async () => {
  const client = await gateway.connect();
  await client.send(head("GET /waits"));
  await eventually(
    "the request to run",
    async () => (await gateway.metric("weft_active_requests")) === 1,
  );
  client.reset();
  using other = await gateway.connect();
  await eventually("the abort", async () => {
    await other.send(head("GET /state"));
    return (JSON.parse((await other.response()).body) as { aborted: number }).aborted === 1;
  });
});

test("the app sees forwarded fields and not what callers forge", async () => {
  using client = await gateway.connect();
  await client.send(
    head(
      "GET /state",
      "X-Weft-Peer: evil",
      "X-Forwarded-For: 1.2.3.4",
      "Connection: x-hop",
      "X-Hop: 1",
    ),
  );
  const { headers } = JSON.parse((await client.response()).body) as { headers: [string, string][] };
  const seen = new Map(headers);
  assert.equal(seen.get("x-forwarded-for"), "127.0.0.1");
  assert.equal(seen.has("x-weft-peer"), false);
  assert.equal(seen.has("x-hop"), false);
  assert.ok(seen.has("x-request-id"));
});

test("two megabytes arrive", async () => {
  using client = await gateway.connect();
  await client.send(head("GET /large"));
  assert.equal((await client.response()).body.length, 2_000_000);
});
