/** Routing through a real gateway with two worker threads: what arrives upstream, byte for byte, and what weft answers itself. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Gateway } from "../support/gateway.ts";
import { valueOf } from "../support/message.ts";
import { answering, ok, Origin } from "../support/origin.ts";

let gateway: Gateway;
const origins: Origin[] = [];

/** Answers with its name, the request line and the Host it saw. */
async function origin(name: string): Promise<string> {
  const started = await Origin.start(
    answering((request) =>
      ok(`${name} ${request.start.split(" ")[1]} ${valueOf(request.fields, "host")}`),
    ),
  );
  origins.push(started);
  return `127.0.0.1:${started.port}`;
}

before(async () => {
  const [a, b] = [await origin("a"), await origin("b")];
  gateway = await Gateway.start({
    files: {
      "app.ts": `import { Hono } from 'hono'
const app = new Hono()
app.get('/home/:name', (c) => c.text('hello ' + c.req.param('name')))
export default app`,
      "tag.ts": `import { definePlugin } from 'weft/plugin'
export default definePlugin({ name: 'tag', stage: 'transform', setup: () => ({
  response(res, ctx) { res.headers.set('x-route', ctx.routeName) },
}) })`,
    },
    config: ({ port, admin }) => `
gateway: { listeners: [{ name: web, host: 127.0.0.1, port: ${port[0]} }] }
admin: { address: "127.0.0.1:${admin}" }
workers: 2
services: { a: { endpoints: ["${a}"] }, b: { endpoints: ["${b}"] }, none: { endpoints: [] } }
plugins: [./tag.ts]
routes:
  - { name: raw, match: { path: /raw }, to: a }
  - { name: prefix, match: { path: /prefix }, to: a, rewrite: { prefix: /in/here } }
  - { name: whole, match: { path: /whole }, to: a, rewrite: { path: /x, host: other.internal } }
  - { name: regex, match: { path: { regex: '^/v\\d+' } }, to: a, rewrite: { prefix: /api } }
  - { name: split, match: { path: /split }, to: [{ service: a, weight: 3 }, { service: b, weight: 1 }] }
  - { name: read, match: { path: /read, methods: [GET] }, to: a }
  - { name: host, hosts: ["*.example.com"], match: { path: /host }, to: b }
  - { name: moved, match: { path: /old }, redirect: { prefix: /new, status: 308 } }
  - { name: secure, match: { path: /secure }, redirect: { scheme: https, status: 301 } }
  - { name: ping, match: { path: { exact: /ping } }, respond: { status: 203, body: pong } }
  - { name: app, match: { path: /home }, app: ./app.ts }
  - { name: empty, match: { path: /empty }, to: none }
`,
  });
});
after(async () => {
  await gateway?.stop();
  for (const one of origins) await one.close();
});

async function ask(line: string, host = "h", fields = "") {
  using client = await gateway.connect();
  await client.send(`${line} HTTP/1.1\r\nHost: ${host}\r\n${fields}\r\n`);
  // awaited here: the connection closes when this function returns
  return await client.response();
}

const upstream: readonly (readonly [string, string])[] = [
  ["/raw/a/../b//c/%7Ed?x=%2F", "a /raw/a/../b//c/%7Ed?x=%2F h"],
  ["/prefix/b?x=1", "a /in/here/b?x=1 h"],
  ["/prefix", "a /in/here h"],
  ["/prefix/../prefix/./b", "a /in/here/b h"],
  ["/whole/y?x=1", "a /x?x=1 other.internal"],
  ["/v12/b", "a /api/b h"],
];
for (const [target, seen] of upstream) {
  test(`GET ${target} arrives as ${seen}`, async () => {
    assert.equal((await ask(`GET ${target}`)).body, seen);
  });
}

const refused = [
  "/raw%2Fx",
  "/raw/%5c",
  "/raw%00",
  "/raw\\x",
  "/raw/..;/x",
  "/raw/%zz",
  "/v1../admin",
];
for (const target of refused) {
  test(`GET ${target} is answered 400`, async () => {
    const answer = await ask(`GET ${target}`);
    assert.equal(answer.status, 400);
    assert.equal(JSON.parse(answer.body).code, "bad-request");
  });
}

test("the host decides, whatever its case and port", async () => {
  assert.equal((await ask("GET /host", "A.Example.COM:8080")).body, "b /host a.example.com:8080");
  assert.equal((await ask("GET /host", "example.com")).status, 404);
  assert.equal((await ask("GET http://a.example.com/host", "a.example.com")).status, 200);
});

test("weights are exact on a connection", async () => {
  using client = await gateway.connect();
  const names: string[] = [];
  for (let i = 0; i < 40; i++) {
    await client.send("GET /split HTTP/1.1\r\nHost: h\r\n\r\n");
    names.push((await client.response()).body.charAt(0));
  }
  assert.equal(names.filter((name) => name === "a").length, 30);
});

test("a method that no route takes is a 405 that names the others", async () => {
  const answer = await ask("POST /read", "h", "Content-Length: 0\r\n");
  assert.equal(answer.status, 405);
  assert.equal(answer.header("allow"), "GET");
});

test("no route is a 404 and an empty service a 503", async () => {
  assert.equal((await ask("GET /nowhere")).status, 404);
  const answer = await ask("GET /empty");
  assert.equal(answer.status, 503);
  assert.equal(JSON.parse(answer.body).code, "no-endpoint");
});

test("redirects keep the query, and plugins run on them", async () => {
  const moved = await ask("GET /old/b?x=1");
  assert.deepEqual([moved.status, moved.header("location")], [308, "/new/b?x=1"]);
  assert.equal(moved.header("x-route"), "moved");
  const secure = await ask("GET /secure/b?x=1", "h:8080");
  assert.deepEqual([secure.status, secure.header("location")], [301, "https://h/secure/b?x=1"]);
});

test("fixed answers and apps have plugins too", async () => {
  const ping = await ask("GET /ping");
  assert.deepEqual([ping.status, ping.body, ping.header("x-route")], [203, "pong", "ping"]);
  const app = await ask("GET /home/weft");
  assert.deepEqual([app.status, app.body, app.header("x-route")], [200, "hello weft", "app"]);
});
