/** A limit kept in Redis while Redis is killed, stopped, slow, loading, read-only: traffic goes on, and nobody waits long. */

import assert from "node:assert/strict";
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { eventually } from "../support/eventually.ts";
import { FaultSocket } from "../support/fault-socket.ts";
import { Gateway } from "../support/gateway.ts";
import { answering, ok, Origin } from "../support/origin.ts";
import { RedisServer, redisMissing } from "../support/redis.ts";

const settings = { skip: redisMissing };

let folder = "";
let redis: RedisServer;
let between: FaultSocket;
let origin: Origin;
let gateway: Gateway;
before(async () => {
  if (redisMissing !== false) return;
  // a data set that takes a while to load; `--key-load-delay` is in microseconds
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "weft-redis-"));
  const loading = ["--key-load-delay", "3000", "--loading-process-events-interval-bytes", "1024"];
  const settings = ["--dir", folder, "--enable-debug-command", "yes", ...loading];
  redis = await RedisServer.start(undefined, settings);
  between = await FaultSocket.start(redis.port);
  origin = await Origin.start(answering(() => ok("fine")));
  gateway = await Gateway.start({
    config: ({ port, admin }) => `
gateway: { listeners: [{ name: web, host: 127.0.0.1, port: ${port[0]} }] }
stores: { redis: "redis://127.0.0.1:${between.port}" }
services: { app: { endpoints: ["${origin.address}"] } }
routes:
  - { match: { path: /local }, to: app, plugins: [{ rate-limit: { limit: 100000/min, store: redis, name: a } }] }
  - { match: { path: /open }, to: app, plugins: [{ rate-limit: { limit: 100000/min, store: redis, onStoreError: open, name: b } }] }
  - { match: { path: /closed }, to: app, plugins: [{ rate-limit: { limit: 100000/min, store: redis, onStoreError: closed, name: c } }] }
admin: { address: "127.0.0.1:${admin}" }
workers: 1
`,
  });
  await isUp(true);
});
after(async () => {
  await gateway?.[Symbol.asyncDispose]();
  await origin?.close();
  between?.close();
  await redis?.stop();
  fs.rmSync(folder, { recursive: true, force: true });
});

/** One command on a connection of its own, past whatever stands between; the first line of the answer. */
async function say(...words: string[]): Promise<string> {
  const socket = net.connect(redis.port, "127.0.0.1");
  socket.write(`${words.join(" ")}\r\n`);
  const [answer] = (await once(socket, "data")) as [Buffer];
  socket.destroy();
  return answer.toString().split("\r\n", 1)[0]!;
}

async function get(path: string): Promise<number> {
  using client = await gateway.connect();
  await client.send(`GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
  return (await client.response()).status;
}

/** Asks until the gauge says so: only a decision finds out. */
async function isUp(wanted: boolean): Promise<void> {
  await eventually(
    `weft_store_up to be ${wanted}`,
    async () => {
      await get("/local");
      return (await gateway.metric("weft_store_up", { store: "redis" })) === (wanted ? 1 : 0);
    },
    60_000,
  );
}

/** Each way to answer without the store, a hundred callers at once. */
async function isBridged(): Promise<void> {
  await isUp(false);
  assert.ok((await gateway.metric("weft_store_errors_total", { store: "redis" })) > 0);
  const many = await Promise.all(Array.from({ length: 100 }, () => get("/local")));
  assert.deepEqual([...new Set(many)], [200]);
  assert.equal(await get("/open"), 200);
  assert.equal(await get("/closed"), 503);
}

/** And the store decides again. */
async function isRestored(): Promise<void> {
  await isUp(true);
  await eventually("the store's own decision", async () => (await get("/closed")) === 200);
}

test(
  "Redis is killed: local limits, open or closed as configured, and back when it is back",
  settings,
  async () => {
    await redis.stop();
    await isBridged();
    await redis.restart();
    await isRestored();
  },
);

test("Redis is stopped: a decision waits a moment, not for ever", settings, async () => {
  redis.pause();
  try {
    await isBridged();
  } finally {
    redis.resume();
  }
  await isRestored();
});

test("Redis is behind a connection that swallows answers: the same", settings, async () => {
  between.set("hold");
  await isBridged();
  between.set("pass");
  await isRestored();
});

test(
  "Redis answers five seconds late: nobody waits for it, and nothing heaps up",
  settings,
  async () => {
    between.set({ lateMs: 5000 });
    await isUp(false);
    const { bytesIn, answers } = between;
    const many = await Promise.all(Array.from({ length: 500 }, () => get("/local")));
    assert.deepEqual([...new Set(many)], [200]);
    assert.deepEqual([await get("/open"), await get("/closed")], [200, 503]);
    // what came back meanwhile was asked before; and only a probe at a time was sent, not 500 decisions
    assert.ok(between.answers - answers < 10, `${between.answers - answers} answers`);
    assert.ok(between.bytesIn - bytesIn < 10_000, `${between.bytesIn - bytesIn} bytes sent`);
    between.set("pass");
    await isRestored();
  },
);

test("Redis is loading its data: the same, until it has", settings, async () => {
  await say("DEBUG", "POPULATE", "3000");
  assert.equal(await say("SAVE"), "+OK");
  await redis.stop();
  const { connections } = between;
  const back = redis.restart();
  const isLoading = async () => (await say("GET", "x").catch(() => "")).startsWith("-LOADING");
  await eventually("Redis to load", isLoading);
  await eventually("weft to talk to it", async () => {
    await get("/local");
    return between.connections > connections;
  });
  await isBridged();
  assert.ok(await isLoading(), "still");
  await back;
  await isRestored();
  await say("FLUSHALL");
});

test("Redis is read-only: the same, though it answers", settings, async () => {
  await say("REPLICAOF", "127.0.0.1", "1");
  await isBridged();
  await say("REPLICAOF", "NO", "ONE");
  await isRestored();
});
