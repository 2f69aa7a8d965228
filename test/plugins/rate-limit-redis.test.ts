import assert from "node:assert/strict";
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
  assert.equal(refused.headers["retry-after"], "30");
});

test("burst bounds what comes at once", settings, async (t) => {
  const statuses = await decided(async () => {
    const kit = await kitOf(t, { limit: "1000/day", burst: 3, onStoreError: "closed" });
    return Promise.all(Array.from({ length: 6 }, () => ask(kit)));
  });
  assert.equal(allowed(statuses), 3);
});

test(
  "a store that stops answering costs one short wait, then the local part decides",
  settings,
  async (t) => {
    const kit = await kitOf(t, { limit: "10/day", replicas: 2 });
    assert.equal(await ask(kit), 200);
    redis.pause();
    t.after(() => redis.resume());
    const statuses = [];
    for (let i = 0; i < 8; i++) statuses.push(await ask(kit));
    assert.equal(allowed(statuses), 5);
    assert.equal(kit.storesUp.get("redis"), false);
    assert.equal(kit.logs.filter(({ message }) => message.includes("is away")).length, 1);
    redis.resume();
    kit.nowMs += 1001;
    await eventually("the store", async () => {
      kit.nowMs += 1001;
      await ask(kit);
      return kit.storesUp.get("redis");
    });
  },
);

for (const [onStoreError, status] of [
  ["open", 200],
  ["closed", 503],
] as const) {
  test(`onStoreError: ${onStoreError} answers ${status}`, settings, async (t) => {
    const kit = await kitOf(t, { limit: "1/day", onStoreError });
    await redis.restart();
    await eventually(
      "the loss",
      () => kit.storesUp.get("redis") === false || ask(kit).then(() => false),
    );
    redis.pause();
    t.after(() => redis.resume());
    assert.equal(await ask(kit), status);
    assert.equal(await ask(kit), status);
  });
}

test("a store that comes back is used again", settings, async (t) => {
  const kit = await kitOf(t, { limit: "3/day" });
  assert.equal(await ask(kit), 200);
  await redis.restart();
  await eventually("the store", async () => {
    kit.nowMs += 1001;
    return (
      kit.storesUp.get("redis") === true && (await kit.request()).headers["ratelimit"] !== undefined
    );
  });
});
