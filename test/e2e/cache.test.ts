/** A cache in a running gateway with two workers: changes and purges reach both, stale answers are refreshed beside. */

import assert from "node:assert/strict";
import http from "node:http";
import { after, before, test } from "node:test";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";

let origin: http.Server;
let gateway: Gateway;
let served = 0;
let isDown = false;

before(async () => {
  origin = http.createServer((req, res) => {
    if (isDown) return void req.socket.destroy();
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
  gateway = await Gateway.start({
    args: ["--workers", "2"],
    config: ({ port: [web], admin }) => `
gateway: { listeners: [{ port: ${web}, host: 127.0.0.1 }] }
admin: { address: "127.0.0.1:${admin}" }
services: { origin: { endpoints: ["127.0.0.1:${port}"] } }
policies: { default: { retry: { attempts: 0 } } }
routes: [{ name: all, to: origin, plugins: [cache] }]
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
