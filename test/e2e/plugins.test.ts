/** Plugins on real traffic: files of one's own, bodies both ways, limits over worker threads, tokens of a real issuer. */

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import { brotliDecompressSync } from "node:zlib";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";
import { KeyServer, createIssuerKey, signToken } from "../support/key-server.ts";

const files = {
  "plugins/tenant.ts": readFileSync(
    new URL("../../examples/plugins/tenant.ts", import.meta.url),
    "utf8",
  ),
  "plugins/redact.ts": readFileSync(
    new URL("../../examples/plugins/redact.ts", import.meta.url),
    "utf8",
  ),
  "plugins/probe.ts": `
import { definePlugin, reply } from "weft/plugin"
export default definePlugin({
  name: "probe", stage: "transform",
  setup: () => ({
    async request(req, ctx) {
      await new Promise((resolve) => setImmediate(resolve))
      const wish = req.headers.get("x-wish")
      if (wish === "throw") throw new Error("boom")
      if (wish === "reply") return reply(418, "short", { "content-type": "text/plain" })
    },
    attempt(attempt) { attempt.headers.set("x-attempt", String(attempt.number)) },
    async requestBody(chunk, ctx, last) {
      await new Promise((resolve) => setImmediate(resolve))
      return undefined
    },
    async responseBody(chunk, ctx, last) {
      await new Promise((resolve) => setImmediate(resolve))
      return undefined
    },
    response(res) { res.headers.set("x-probe", "1") },
  }),
})`,
};

let origin: http.Server;
let gateway: Gateway;
let issuer: KeyServer;
const key = await createIssuerKey("one");
const large = randomBytes(6 * 1024 * 1024);
const text = "a line of text that repeats itself\n".repeat(60_000);

before(async () => {
  issuer = new KeyServer();
  issuer.keys = [key];
  await issuer.listen();
  origin = http.createServer((req, res) => {
    if (req.url === "/probe/large") return void res.end(large);
    if (req.url === "/text") return void res.setHeader("content-type", "text/plain").end(text);
    if (req.url === "/json") {
      res.setHeader("content-type", "application/json");
      return void res.end('{"name":"a","secret":"b"}');
    }
    const hash = createHash("sha256");
    let bytes = 0;
    req.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      hash.update(chunk);
    });
    req.on("end", () =>
      res.end(
        JSON.stringify({ url: req.url, headers: req.headers, bytes, hash: hash.digest("hex") }),
      ),
    );
  });
  origin.listen(0, "127.0.0.1");
  await once(origin, "listening");
  const { port: up } = origin.address() as AddressInfo;
  gateway = await Gateway.start({
    files,
    config: ({ port, admin }) => `
gateway: { listeners: [{ name: web, host: 127.0.0.1, port: ${port[0]} }] }
services: { up: { endpoints: ["127.0.0.1:${up}"] } }
routes:
  - { name: tenant, match: { path: /tenant }, to: up, plugins: [{ ./plugins/tenant.ts: { header: x-org }, when: 'method != "OPTIONS"' }] }
  - { name: probe, match: { path: /probe }, to: up, plugins: [./plugins/probe.ts] }
  - { name: text, match: { path: /text }, to: up, plugins: [compress] }
  - { name: json, match: { path: /json }, to: up, plugins: [{ ./plugins/redact.ts: { fields: [secret] } }] }
  - { name: limited, match: { path: /limited }, to: up, plugins: [{ rate-limit: { limit: 20/day, by: route } }] }
  - { name: jwt, match: { path: /jwt }, to: up, plugins: [{ jwt: { issuer: "${issuer.issuer}", forward: { sub: x-user } } }] }
  - { name: pong, match: { path: /pong }, respond: { status: 200, body: pong }, plugins: [cors, api-key] }
  - { name: limit, match: { path: /small }, to: up, plugins: [{ body-limit: { bytes: 64KiB } }] }
plugins: [request-id]
admin: { address: "127.0.0.1:${admin}" }
workers: 3
`,
  });
});
after(async () => {
  await gateway.stop();
  origin.closeAllConnections();
  origin.close();
  await issuer.close();
});

const ask = (path: string, init: RequestInit = {}): Promise<Response> =>
  fetch(`http://127.0.0.1:${gateway.port}${path}`, init);

interface Echo {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly bytes: number;
  readonly hash: string;
}
const echo = async (answer: Response): Promise<Echo> => (await answer.json()) as Echo;

test("a plugin file of one's own decides, with its options and its condition", async () => {
  const refused = await ask("/tenant");
  assert.equal(refused.status, 401);
  assert.match(await refused.text(), /missing tenant/);
  assert.equal((await ask("/tenant", { headers: { "x-org": "a" } })).status, 200);
  assert.equal((await ask("/tenant", { method: "OPTIONS" })).status, 200);
});

test("asynchronous hooks on head and bodies change nothing that they leave alone", async () => {
  const sent = await ask("/probe/x", { method: "POST", body: large });
  assert.equal(sent.headers.get("x-probe"), "1");
  const { bytes, hash, headers } = await echo(sent);
  assert.equal(bytes, large.length);
  assert.equal(hash, createHash("sha256").update(large).digest("hex"));
  assert.equal(headers["x-attempt"], "1");
  const got = Buffer.from(await (await ask("/probe/large")).arrayBuffer());
  assert(got.equals(large));
});

test("a throw costs one exchange, a reply of one's own is sent as it is", async () => {
  const failed = await ask("/probe/x", { headers: { "x-wish": "throw" } });
  assert.equal(failed.status, 500);
  assert.equal(((await failed.json()) as { code: string }).code, "plugin-error");
  const replied = await ask("/probe/x", { headers: { "x-wish": "reply" } });
  assert.equal(replied.status, 418);
  assert.equal(await replied.text(), "short");
  assert.equal(replied.headers.get("x-probe"), "1");
  assert.equal((await ask("/probe/x")).status, 200);
  await eventually("the metric", () =>
    gateway.metric("weft_plugin_errors_total", { plugin: "probe" }),
  );
});

test("a large text comes compressed and whole", async () => {
  const raw = await new Promise<{ head: http.IncomingHttpHeaders; body: Buffer }>(
    (resolve, reject) => {
      const options = { port: gateway.port, path: "/text", headers: { "accept-encoding": "br" } };
      http
        .get(options, (res) => {
          const chunks: Buffer[] = [];
          res.on("data", (chunk: Buffer) => chunks.push(chunk));
          res.on("end", () => resolve({ head: res.headers, body: Buffer.concat(chunks) }));
        })
        .on("error", reject);
    },
  );
  assert.equal(raw.head["content-encoding"], "br");
  assert(raw.body.length < text.length / 10);
  assert.equal(brotliDecompressSync(raw.body).toString(), text);
});

test("a buffered body is replaced and its length is right", async () => {
  const answer = await ask("/json");
  assert.equal(answer.headers.get("content-length"), "12");
  assert.deepEqual(await answer.json(), { name: "a" });
});

test("a limit is exact over all worker threads", async () => {
  const statuses = await Promise.all(
    Array.from({ length: 60 }, () =>
      ask("/limited", { headers: { connection: "close" } }).then(async (answer) => {
        await answer.arrayBuffer();
        return answer.status;
      }),
    ),
  );
  assert.equal(statuses.filter((status) => status === 200).length, 20);
  assert.equal(statuses.filter((status) => status === 429).length, 40);
  await eventually("the metric", async () => {
    return (await gateway.metric("weft_rate_limited_total", { route: "limited" })) === 40;
  });
});

test("a token of a real issuer names the consumer; headers in its place are dropped", async () => {
  const token = await signToken(key, { iss: issuer.issuer, sub: "alice" });
  const forged = { "x-user": "root", "x-weft-consumer": "root" };
  const { headers } = await echo(
    await ask("/jwt", { headers: { ...forged, authorization: `Bearer ${token}` } }),
  );
  assert.equal(headers["x-user"], "alice");
  assert.equal(headers["x-weft-consumer"], "alice");
  const refused = await ask("/jwt", { headers: forged });
  assert.equal(refused.status, 401);
  assert.equal(refused.headers.get("www-authenticate"), 'Bearer realm="weft"');
});

test("plugins run on routes without a service", async () => {
  const answer = await ask("/pong", { headers: { origin: "https://a.example" } });
  assert.equal(answer.status, 401);
  assert.equal(answer.headers.get("access-control-allow-origin"), "*");
  assert.notEqual(answer.headers.get("x-request-id"), null);
});

test("a body that grows over its limit is refused while it is still coming", async () => {
  const request = http.request({ port: gateway.port, path: "/small", method: "POST" });
  request.on("error", () => {});
  const answered = once(request, "response");
  for (let i = 0; i < 5; i++) request.write(Buffer.alloc(16 * 1024));
  const [answer] = (await answered) as [http.IncomingMessage];
  assert.equal(answer.statusCode, 413);
  request.destroy();
});

test("a changed plugin file takes effect without a restart", async () => {
  const { writeFileSync } = await import("node:fs");
  const changed = files["plugins/tenant.ts"].replace("missing tenant", "which tenant?");
  writeFileSync(`${gateway.folder}/plugins/tenant.ts`, changed);
  await eventually("the new code", async () =>
    (await (await ask("/tenant")).text()).includes("which tenant?"),
  );
});
