import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { createKit } from "../support/plugin-kit.ts";

/** A service that decides, and what it was asked. */
async function decide(t: TestContext, answer: (req: IncomingMessage, res: ServerResponse) => void) {
  const asked: IncomingMessage[] = [];
  const sockets = new Set<unknown>();
  const server = createServer((req, res) => {
    asked.push(req);
    sockets.add(req.socket);
    answer(req, res);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/check?x=1`;
  return { url, asked, sockets, server };
}

async function kitOf(t: TestContext, options: object) {
  const kit = await createKit([{ use: "ext-authz", options: { timeout: "20s", ...options } }]);
  t.after(() => kit.close());
  return kit;
}

test("the service is told what is asked, in the words of other proxies", async (t) => {
  const { url, asked, sockets } = await decide(t, (_req, res) => res.end("fine"));
  const kit = await kitOf(t, { url });
  const headers = {
    authorization: "Bearer t",
    "x-any": "1",
    "x-forwarded-for": "10.9.9.9",
    "x-forwarded-uri": "/forged",
    "x-weft-consumer": "root",
    expect: "100-continue",
  };
  for (let i = 0; i < 3; i++) {
    const answer = await kit.request({
      method: "POST",
      path: "/a%2e?q=1",
      headers,
      body: "body",
      host: "api.example.com:8443",
      scheme: "https",
      client: "192.0.2.7",
    });
    assert.equal(answer.status, 200);
    assert.equal(answer.seen?.body, "body");
    assert.equal(answer.seen?.headers["authorization"], "Bearer t");
  }
  const told = asked[0]!;
  assert.deepEqual([told.method, told.url], ["GET", "/check?x=1"]);
  assert.equal(told.headers["x-forwarded-method"], "POST");
  assert.equal(told.headers["x-forwarded-uri"], "/a%2e?q=1");
  assert.equal(told.headers["x-forwarded-host"], "api.example.com:8443");
  assert.equal(told.headers["x-forwarded-proto"], "https");
  assert.equal(told.headers["x-forwarded-for"], "192.0.2.7");
  assert.equal(told.headers["authorization"], "Bearer t");
  assert.equal(told.headers["x-any"], "1");
  assert.equal(told.headers["x-weft-consumer"], undefined);
  assert.equal(told.headers["content-length"], undefined);
  assert.equal(asked.length, 3);
  assert.equal(sockets.size, 1, "connections are kept");
});

test("sendHeaders are the only ones told; takeHeaders come from the service alone", async (t) => {
  const { url, asked } = await decide(t, (req, res) => {
    if (req.headers["x-a"] === "1") res.setHeader("x-user", "alice");
    res.setHeader("x-other", "no").end();
  });
  const kit = await kitOf(t, { url, sendHeaders: ["X-A"], takeHeaders: ["X-User", "x-role"] });
  const forged = { "x-user": "root", "x-role": "root", "x-b": "2" };
  const answer = await kit.request({ headers: { ...forged, "x-a": "1" } });
  assert.equal(answer.seen?.headers["x-user"], "alice");
  assert.equal(answer.seen?.headers["x-role"], undefined);
  assert.equal(answer.seen?.headers["x-other"], undefined);
  assert.equal(asked[0]!.headers["x-b"], undefined);
  const other = await kit.request({ headers: forged });
  assert.equal(other.seen?.headers["x-user"], undefined);
});

test("a redirect or a refusal with a body goes to the caller as it is", async (t) => {
  const { url } = await decide(t, (req, res) => {
    if (req.headers["x-forwarded-uri"] === "/login") {
      res.writeHead(302, { location: "https://id.example.com/?a=1", "set-cookie": ["a=1", "b=2"] });
      res.end();
    } else res.writeHead(403, { "content-type": "text/html", "x-why": "group" }).end("<h1>no</h1>");
  });
  const kit = await kitOf(t, { url });
  const redirect = await kit.request({ path: "/login" });
  assert.equal(redirect.status, 302);
  assert.equal(redirect.headers["location"], "https://id.example.com/?a=1");
  assert.equal(redirect.headers["set-cookie"], "a=1, b=2");
  assert.equal(redirect.seen, null);
  const refused = await kit.request({ path: "/" });
  assert.equal(refused.status, 403);
  assert.equal(refused.body.toString(), "<h1>no</h1>");
  assert.equal(refused.headers["x-why"], "group");
  const grpc = await kit.request({ headers: { "content-type": "application/grpc" } });
  assert.deepEqual([grpc.status, grpc.headers["grpc-status"]], [200, "7"]);
});

test("a refusal without a body becomes a document of the catalogue", async (t) => {
  const { url } = await decide(t, (req, res) => {
    res.writeHead(Number(req.headers["x-status"])).end();
  });
  const kit = await kitOf(t, { url });
  for (const [status, code] of [
    [401, "unauthenticated"],
    [403, "forbidden"],
    [404, "forbidden"],
  ] as const) {
    const answer = await kit.request({ headers: { "x-status": String(status) } });
    assert.equal(answer.status, status);
    assert.equal(answer.problem?.["code"], code);
    assert.equal(answer.headers["www-authenticate"] !== undefined, status === 401);
  }
});

for (const [what, answer] of [
  ["a 500", (_req, res) => res.writeHead(500).end("oops")],
  ["a reset", (req) => req.socket.resetAndDestroy()],
  [
    "half an answer",
    (_req, res) => res.writeHead(200, { "content-length": "9" }).end("x".repeat(3)),
  ],
  ["a huge body", (_req, res) => res.end("x".repeat(100_000))],
  ["silence", () => {}],
] as [string, (req: IncomingMessage, res: ServerResponse) => void][]) {
  test(`${what} is no decision: closed is 503 auth-unavailable, open lets through`, async (t) => {
    const { url } = await decide(t, (req, res) => {
      res.strictContentLength = false;
      answer(req, res);
      if (what === "half an answer") req.socket.destroySoon();
    });
    const closed = await kitOf(t, { url, timeout: "100ms" });
    const refused = await closed.request();
    assert.equal(refused.status, 503);
    assert.equal(refused.problem?.["code"], "auth-unavailable");
    assert.notEqual(refused.headers["retry-after"], undefined);
    assert.equal(closed.count("ext_authz", "error"), 1);
    assert.equal(closed.logs.length, 1);
    const open = await kitOf(t, {
      url,
      timeout: "100ms",
      onError: "open",
      takeHeaders: ["x-user"],
    });
    const passed = await open.request({ headers: { "x-user": "root" } });
    assert.equal(passed.status, 200);
    assert.equal(passed.seen?.headers["x-user"], undefined);
  });
}

test("a service that is not there is auth-unavailable", async (t) => {
  const { url, server } = await decide(t, (_req, res) => res.end());
  const kit = await kitOf(t, { url });
  assert.equal((await kit.request()).status, 200);
  server.closeAllConnections();
  server.close();
  await once(server, "close");
  assert.equal((await kit.request()).status, 503);
});

test("a kept connection that the service closed costs no request", async (t) => {
  const { url, server, asked } = await decide(t, (_req, res) => res.end());
  const kit = await kitOf(t, { url, timeout: "5s" });
  for (let i = 0; i < 5; i++) {
    assert.equal((await kit.request()).status, 200);
    server.closeAllConnections();
  }
  assert.equal(asked.length, 5);
});

test("decisions are remembered as long as cache says, for exactly the same question", async (t) => {
  const { url, asked } = await decide(t, (req, res) => {
    res.setHeader("x-user", "u");
    res.writeHead(req.headers["x-forwarded-uri"] === "/no" ? 403 : 200).end();
  });
  const kit = await kitOf(t, { url, cache: "10s", takeHeaders: ["x-user"] });
  const first = await Promise.all([kit.request(), kit.request(), kit.request()]);
  assert.deepEqual(
    first.map(({ status }) => status),
    [200, 200, 200],
  );
  assert.equal(asked.length, 1, "asked once for all that wait");
  const hit = await kit.request();
  assert.deepEqual([hit.status, hit.wasSync, hit.seen?.headers["x-user"]], [200, true, "u"]);
  await kit.request({ path: "/no" });
  assert.deepEqual([(await kit.request({ path: "/no" })).status, asked.length], [403, 2]);
  for (const other of [
    { method: "POST" },
    { path: "/other" },
    { headers: { cookie: "a=2" } },
    { client: "192.0.2.9" },
    { host: "b.example.com" },
  ]) {
    const before: number = asked.length;
    await kit.request(other);
    assert.equal(asked.length, before + 1, JSON.stringify(other));
  }
  const before = asked.length;
  kit.nowMs += 10_001;
  await kit.request();
  assert.equal(asked.length, before + 1);
});

test("answers for one caller alone, and failures, are not remembered", async (t) => {
  let status = 500;
  const { url, asked } = await decide(t, (_req, res) => {
    res.writeHead(status, status === 200 ? { "set-cookie": "a=1" } : {}).end();
  });
  const kit = await kitOf(t, { url, cache: "10s" });
  assert.equal((await kit.request()).status, 503);
  status = 200;
  assert.equal((await kit.request()).status, 200);
  assert.equal((await kit.request()).status, 200);
  assert.equal(asked.length, 3);
});

test("answerHeaders reach the caller; consumerHeader names the consumer", async (t) => {
  const { url } = await decide(t, (_req, res) => {
    res.writeHead(200, { "set-cookie": ["s=1", "t=2"], "x-who": "acme", "x-hidden": "1" }).end();
  });
  const kit = await createKit(
    [
      {
        use: "ext-authz",
        options: { url, timeout: "20s", answerHeaders: ["set-cookie"], consumerHeader: "X-Who" },
      },
    ],
    { consumers: [{ name: "acme", keys: [], plan: "gold", groups: [] }] },
  );
  t.after(() => kit.close());
  const answer = await kit.request();
  assert.equal(answer.headers["set-cookie"], "s=1, t=2");
  assert.equal(answer.headers["x-hidden"], undefined);
  assert.equal(answer.ctx.consumer?.plan, "gold");
  assert.equal(answer.seen?.headers["x-weft-consumer"], "acme");
});

test("a URL that is none is refused when the configuration loads", async () => {
  for (const url of ["", "ftp://x", "127.0.0.1:9000", "/check"])
    await assert.rejects(createKit([{ use: "ext-authz", options: { url } }]), { part: "options" });
});
