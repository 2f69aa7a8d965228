/** A cache in a running gateway with two workers: changes and purges reach both, stale answers are refreshed beside. */

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import http2 from "node:http2";
import https from "node:https";
import { buffer } from "node:stream/consumers";
import { after, before, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { signed, testAuthority } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";

let origin: http.Server;
let gateway: Gateway;
let served = 0;
let isDown = false;
const large = Array.from({ length: 20_000 }, (_, i) => `line ${i}\n`).join("");
/** Answers to `/held` that wait. */
const held: (() => void)[] = [];

before(async () => {
  origin = http.createServer(async (req, res) => {
    if (isDown) return void req.socket.destroy();
    if (req.url === "/large") {
      res.writeHead(200, { "cache-control": "max-age=600", "content-type": "text/plain" });
      return void res.end(large);
    }
    if (req.url === "/held") await new Promise<void>((goOn) => held.push(goOn));
    const lifetime: Record<string, string> = {
      "/swr": "max-age=0, stale-while-revalidate=600",
      "/sie": "max-age=0, stale-if-error=600",
    };
    res.setHeader("cache-control", lifetime[req.url ?? ""] ?? "max-age=600");
    res.setHeader("etag", `"${++served}"`);
    res.end(`answer ${served}`);
  });
  await new Promise<void>((done) => origin.listen(0, "127.0.0.1", done));
  const { port } = origin.address() as { port: number };
  const pair = await signed(await testAuthority(), { dns: ["localhost"] });
  gateway = await Gateway.start({
    args: ["--workers", "2"],
    ports: 2,
    files: { "server.crt": pair.cert, "server.key": pair.key },
    config: ({ port: [web, secure], admin }) => `
gateway:
  listeners:
    - { name: web, port: ${web}, host: 127.0.0.1 }
    - { name: secure, port: ${secure}, host: 127.0.0.1, tls: { certificates: [{ cert: server.crt, key: server.key }] } }
admin: { address: "127.0.0.1:${admin}" }
services: { origin: { endpoints: ["127.0.0.1:${port}"] } }
policies: { default: { retry: { attempts: 0 } } }
routes: [{ name: all, to: origin, plugins: [compress, cache] }]
`,
  });
});
after(async () => {
  await gateway?.stop("SIGKILL");
  origin.close();
  origin.closeAllConnections();
});

interface Answer {
  readonly status: number;
  readonly text: string;
  readonly cache: string;
  readonly length: string | undefined;
}

/** On a connection of its own: any worker may take it. */
function ask(path: string, method = "GET"): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const options = { port: gateway.port, host: "127.0.0.1", path, method, agent: false };
    const req = http.request(options, (res) => {
      let text = "";
      res.on("data", (chunk: Buffer) => (text += chunk.toString()));
      res.on("end", () =>
        resolve({
          status: res.statusCode!,
          text,
          cache: String(res.headers["cache-status"]),
          length: res.headers["content-length"],
        }),
      );
    });
    req.on("error", reject);
    req.end();
  });
}

/** Until both workers have kept it: what they give are the last two answers of the service. */
async function warm(path: string): Promise<Set<string>> {
  await eventually(`both workers to keep ${path}`, async () => {
    const all = await Promise.all(Array.from({ length: 8 }, () => ask(path)));
    return all.every(({ cache }) => cache.includes("hit"));
  });
  const all = await Promise.all(Array.from({ length: 16 }, () => ask(path)));
  return new Set(all.map(({ text }) => text));
}

test("the length stays known while an answer goes into the cache", async () => {
  const first = await ask("/length");
  assert.equal(first.cache, "weft; fwd=miss; stored");
  assert.equal(first.length, String(first.text.length));
});

test("one answer serves all workers: those who wait for it, and those who come later", async () => {
  const asked = Array.from({ length: 24 }, () => ask("/held"));
  await eventually(
    "all to be in the gateway",
    async () => (await gateway.metric("weft_active_requests", {})) >= 24,
  );
  assert.equal(held.length, 1);
  for (const goOn of held) goOn();
  const texts = new Set((await Promise.all(asked)).map(({ text }) => text));
  assert.equal(texts.size, 1);
  for (let i = 0; i < 24; i++) assert((await ask("/held")).cache.startsWith("weft; hit"));
  assert.equal(held.length, 1);
});

test("a kept answer goes out whole over TLS, HTTP/2, and compressed", async () => {
  const secure = gateway.ports[1]!;
  const cached = (status: unknown): boolean => String(status).startsWith("weft; hit");
  const overTls = async (encoding: string): Promise<boolean> => {
    const headers = { "accept-encoding": encoding };
    const options = { host: "127.0.0.1", rejectUnauthorized: false, path: "/large", headers };
    const req = https.get({ ...options, port: secure, agent: false });
    const [res] = (await once(req, "response")) as [http.IncomingMessage];
    const body = await buffer(res);
    const text = encoding === "gzip" ? gunzipSync(body).toString() : body.toString();
    assert.equal(text, large);
    return cached(res.headers["cache-status"]);
  };
  const overHttp2 = async (): Promise<boolean> => {
    const session = http2.connect(`https://127.0.0.1:${secure}`, { rejectUnauthorized: false });
    const stream = session.request({ ":path": "/large" });
    const [head] = (await once(stream, "response")) as [http2.IncomingHttpHeaders];
    assert.equal((await buffer(stream)).toString(), large);
    session.destroy();
    return cached(head["cache-status"]);
  };
  for (const [what, ask] of [
    ["TLS", () => overTls("identity")],
    ["gzip", () => overTls("gzip")],
    ["HTTP/2", overHttp2],
  ] as const)
    await eventually(`a hit over ${what}`, ask);
});

test("an unsafe method empties what it may have changed, in every worker", async () => {
  const old = await warm("/changed");
  const other = await warm("/other");
  const put = await ask("/changed", "PUT");
  assert.equal(put.status, 200);
  for (let i = 0; i < 12; i++) assert(!old.has((await ask("/changed")).text));
  for (let i = 0; i < 12; i++) assert(other.has((await ask("/other")).text));
});

test("POST /purge empties a path, or everything, in every worker", async () => {
  const purge = async (body: object): Promise<number> => {
    const url = `http://127.0.0.1:${gateway.admin}/purge`;
    const answer = await fetch(url, { method: "POST", body: JSON.stringify(body) });
    await answer.arrayBuffer();
    return answer.status;
  };
  const [one, two] = [await warm("/one"), await warm("/two")];
  assert.equal(await purge({ url: `http://127.0.0.1:${gateway.port}/one` }), 200);
  for (let i = 0; i < 12; i++) assert(!one.has((await ask("/one")).text));
  for (let i = 0; i < 12; i++) assert(two.has((await ask("/two")).text));
  assert.equal(await purge({ all: true }), 200);
  for (let i = 0; i < 12; i++) assert(!two.has((await ask("/two")).text));
  assert.equal(await purge({ url: "nowhere" }), 400);
  assert.equal(await purge({}), 400);
});

test("a stale answer comes at once, and the next ones are new", async () => {
  const first = await ask("/swr");
  await eventually("the stale answer", async () => (await ask("/swr")).cache.includes("fwd=stale"));
  await eventually("a new one", async () => {
    const { text, cache } = await ask("/swr");
    return text !== first.text && cache.includes("hit");
  });
});

test("what is kept stands in for a service that is away", async () => {
  const { text } = await ask("/sie");
  isDown = true;
  try {
    const kept = await eventually("the worker that has it", async () => {
      const answer = await ask("/sie");
      return answer.status === 200 ? answer : null;
    });
    assert.equal(kept.text, text);
    assert.equal((await ask("/never")).status, 502);
  } finally {
    isDown = false;
  }
});
