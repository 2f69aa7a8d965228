import assert from "node:assert/strict";
import net from "node:net";
import { after, before, test } from "node:test";
import { eventually } from "../support/eventually.ts";
import { createKit } from "../support/plugin-kit.ts";
import type { PluginKit } from "../support/plugin-kit.ts";
import { RedisServer, redisMissing } from "../support/redis.ts";

const settings = { skip: redisMissing };
let redis: RedisServer;

before(async () => {
  if (redisMissing === false) redis = await RedisServer.start();
});
after(() => redis?.stop());

let names = 0;

/** A proxy with a name of its own for its counters, connected. */
async function kitOf(
  t: { after(run: () => Promise<void>): void },
  options: object,
): Promise<PluginKit> {
  const use = { use: "rate-limit", options: { store: "redis", name: `n${++names}`, ...options } };
  const kit = await createKit([use], { redis: redis.url });
  t.after(() => kit.close());
  await eventually("redis", () => kit.storesUp.get("redis"));
  return kit;
}

const ask = async (kit: PluginKit): Promise<number> => (await kit.request()).status;
/** What the store decided: on a machine that stalls longer than a decision may take, it is asked anew. */
async function decided(run: () => Promise<number[]>): Promise<number[]> {
  for (;;) {
    const statuses = await run();
    if (!statuses.includes(503)) return statuses;
  }
}
const allowed = (statuses: readonly number[]): number =>
  statuses.filter((status) => status === 200).length;

for (const algorithm of ["gcra", "fixed-window", "sliding-window"]) {
  test(`${algorithm}: two proxies let exactly the limit through together`, settings, async (t) => {
    const statuses = await decided(async () => {
      const name = `shared-${++names}`;
      const options = { limit: "10/day", algorithm, onStoreError: "closed", name };
      const one = await kitOf(t, options);
      // shares the worker's connection, which is there
      const use = { use: "rate-limit", options: { ...options, store: "redis" } };
      const two = await createKit([use], { redis: redis.url });
      t.after(() => two.close());
      return Promise.all(Array.from({ length: 30 }, (_, i) => ask(i % 2 === 0 ? one : two)));
    });
    assert.equal(allowed(statuses), 10);
    assert(statuses.every((status) => status === 200 || status === 429));
  });
}

test("the fields are those of the local store", settings, async (t) => {
  const kit = await kitOf(t, { limit: "2/min", name: "fields" });
  const first = await kit.request();
  assert.equal(first.headers["ratelimit-policy"], '"fields";q=2;w=60');
  assert.equal(first.headers["ratelimit"], '"fields";r=1;t=30');
  await kit.request();
  const refused = await kit.request();
  assert.equal(refused.status, 429);
  assert.equal(refused.headers["ratelimit"], '"fields";r=0;t=30');
  assert.equal(refused.headers["retry-after"], "32");
});

test("burst bounds what comes at once", settings, async (t) => {
  const statuses = await decided(async () => {
    const kit = await kitOf(t, { limit: "1000/day", burst: 3, onStoreError: "closed" });
    return Promise.all(Array.from({ length: 6 }, () => ask(kit)));
  });
  assert.equal(allowed(statuses), 3);
});

/** Callers that nobody has answered are let through by the local part, however long the store is away. */
test(
  "a store that stops answering: one wait, then the local part, then the store",
  settings,
  async (t) => {
    const kit = await kitOf(t, { limit: "10/day", replicas: 2 });
    assert.equal(await ask(kit), 200);
    redis.pause();
    t.after(() => redis.resume());
    const statuses = [];
    let waited = 0;
    for (let i = 0; i < 8; i++) {
      const answer = await kit.request();
      statuses.push(answer.status);
      if (!answer.wasSync) waited++;
    }
    assert.equal(allowed(statuses), 5);
    // a store that is known to be slow is not asked for each request
    assert.equal(waited, 1);
    assert.equal(kit.storesUp.get("redis"), false);
    assert.equal(kit.logs.filter(({ message }) => message.includes("is away")).length, 1);
    redis.resume();
    await eventually("the store", () => kit.storesUp.get("redis"));
  },
);

for (const [onStoreError, status] of [
  ["open", 200],
  ["closed", 503],
] as const) {
  test(`onStoreError: ${onStoreError} answers ${status}`, settings, async (t) => {
    const kit = await kitOf(t, { limit: "1/day", onStoreError });
    redis.pause();
    t.after(() => redis.resume());
    assert.equal(await ask(kit), status);
    assert.equal(await ask(kit), status);
    redis.resume();
    await eventually("the store", () => kit.storesUp.get("redis"));
  });
}

test("a store that was killed is used again when it comes back", settings, async (t) => {
  const kit = await kitOf(t, { limit: "3/day" });
  assert.equal(await ask(kit), 200);
  await redis.stop();
  await eventually("the loss", () => kit.storesUp.get("redis") === false);
  assert.equal(await ask(kit), 200);
  await redis.restart();
  await eventually("the store", () => kit.storesUp.get("redis"));
  assert.equal((await kit.request()).wasSync, false);
});

test("a store that answers with errors is away", settings, async (t) => {
  for (const [name, reply] of [
    ["loading", "-LOADING Redis is loading the dataset in memory\r\n"],
    ["readonly", "-READONLY You can't write against a read only replica.\r\n"],
    ["moved", "-MOVED 3999 127.0.0.1:1\r\n"],
    ["nonsense", "+OK\r\n"],
    ["bytes", "\u0000\u0001 not a protocol\r\n"],
  ] as const) {
    const server = net.createServer((socket) => {
      socket.on("error", () => {});
      socket.on("data", () => socket.write(reply));
    });
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    const { port } = server.address() as net.AddressInfo;
    const options = { store: "redis", limit: "2/day", name };
    const kit = await createKit([{ use: "rate-limit", options }], {
      redis: `redis://127.0.0.1:${port}`,
    });
    t.after(async () => {
      await kit.close();
      server.close();
    });
    assert.deepEqual([await ask(kit), await ask(kit), await ask(kit)], [200, 200, 429], name);
  }
});

test("bytes are owed in the store too", settings, async (t) => {
  const options = { store: "redis", name: `n${++names}`, limit: "5/day", cost: { bytes: "1KiB" } };
  const kit = await createKit([{ use: "rate-limit", options }], {
    redis: redis.url,
    upstream: () => ({ body: "x".repeat(20_000) }),
  });
  t.after(() => kit.close());
  await eventually("redis", () => kit.storesUp.get("redis"));
  assert.equal(await ask(kit), 200);
  await eventually("the debt", async () => (await ask(kit)) === 429);
});
