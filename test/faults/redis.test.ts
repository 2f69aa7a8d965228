/** A limit kept in Redis while Redis is killed, stopped, slow, read-only: traffic goes on, and nobody waits long. */

import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";
import { answering, ok, Origin } from "../support/origin.ts";
import { RedisServer, redisMissing } from "../support/redis.ts";

const settings = { skip: redisMissing };

/** Stands between weft and Redis, and lets bytes through, or holds them. */
class Between {
  private readonly server: net.Server;
  private readonly pairs: [net.Socket, net.Socket][] = [];
  isHeld = false;

  private constructor(to: number) {
    this.server = net.createServer((socket) => {
      const onward = net.connect(to, "127.0.0.1");
      this.pairs.push([socket, onward]);
      for (const one of [socket, onward]) one.on("error", () => one.destroy());
      socket.on("close", () => onward.destroy());
      onward.on("close", () => socket.destroy());
      socket.pipe(onward);
      onward.pipe(socket);
      if (this.isHeld) onward.pause();
    });
  }

  static async start(to: number): Promise<Between> {
    const between = new Between(to);
    between.server.listen(0, "127.0.0.1");
    await once(between.server, "listening");
    return between;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** Answers arrive no more, though the connection stands. */
  hold(): void {
    this.isHeld = true;
    for (const [socket, onward] of this.pairs) {
      onward.unpipe(socket);
      onward.pause();
    }
  }

  release(): void {
    this.isHeld = false;
    for (const [socket, onward] of this.pairs) onward.pipe(socket);
  }

  close(): void {
    for (const [socket] of this.pairs) socket.destroy();
    this.server.close();
  }
}

let redis: RedisServer;
let between: Between;
let origin: Origin;
let gateway: Gateway;
before(async () => {
  if (redisMissing !== false) return;
  redis = await RedisServer.start();
  between = await Between.start(redis.port);
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
});

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
  between.hold();
  await isBridged();
  between.release();
  await isRestored();
});

test("Redis is read-only: the same, though it answers", settings, async () => {
  const say = async (...words: string[]): Promise<void> => {
    const socket = net.connect(redis.port, "127.0.0.1");
    socket.write(`${words.join(" ")}\r\n`);
    await once(socket, "data");
    socket.destroy();
  };
  await say("REPLICAOF", "127.0.0.1", "1");
  await isBridged();
  await say("REPLICAOF", "NO", "ONE");
  await isRestored();
});
