import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { eventually } from "../support/eventually.ts";
import { createKit } from "../support/plugin-kit.ts";
import { redisMissing } from "../support/redis.ts";
import { RedisCluster } from "../support/redis-nodes.ts";

const settings = { skip: redisMissing };
let cluster: RedisCluster;

before(async () => {
  if (redisMissing === false) cluster = await RedisCluster.start();
});
after(() => cluster?.stop());

test("a cluster of three counts exactly, each caller on a node", settings, async (t) => {
  const use = {
    use: "rate-limit",
    options: { store: "redis", limit: "5/day", onStoreError: "closed" },
  };
  const kit = await createKit([use], { redis: cluster.urls });
  t.after(() => kit.close());
  await eventually("the cluster", () => kit.storesUp.get("redis"));
  const callers = Array.from({ length: 12 }, (_, i) => `192.0.2.${i}`);
  const passed = new Map<string, number>();
  let unanswered = 0;
  for (let left = 10; left > 0; left--) {
    // 503: this machine was away for longer than a decision may take; the next round makes up for it
    const answers = await Promise.all(callers.map((client) => kit.request({ client })));
    for (const [i, { status }] of answers.entries()) {
      if (status === 200) passed.set(callers[i]!, (passed.get(callers[i]!) ?? 0) + 1);
      if (status === 503) unanswered++;
    }
    if (answers.some(({ status }) => status === 503))
      await eventually("the cluster", () => kit.storesUp.get("redis"));
    assert(answers.every(({ status }) => status === 200 || status === 429 || status === 503));
  }
  // a decision that came too late has been counted: fewer may pass then, never more
  for (const count of passed.values()) assert(unanswered === 0 ? count === 5 : count <= 5);
  const ends = await Promise.all(callers.map((client) => kit.request({ client })));
  assert(ends.every(({ status }) => status === 429));
});

test(
  "keys that move to another node meanwhile are found there, counts and all",
  settings,
  async (t) => {
    const options = { store: "redis", limit: "2/day", onStoreError: "closed", name: "moved" };
    const kit = await createKit([{ use: "rate-limit", options }], { redis: cluster.urls });
    t.after(() => kit.close());
    await eventually("the cluster", () => kit.storesUp.get("redis"));
    const callers = Array.from({ length: 60 }, (_, i) => `203.0.113.${i}`);
    const spend = async (client: string): Promise<void> => {
      let passed = 0;
      // 503: the store was away for a moment; what it had counted by then stays counted
      await eventually(`${client} to be refused`, async () => {
        const { status } = await kit.request({ client });
        if (status === 200) passed++;
        return status === 429;
      });
      assert.ok(passed <= 2);
    };
    await Promise.all(callers.map(spend));
    let isMoving = true;
    const moving = cluster.move(2000, 0, 1).finally(() => (isMoving = false));
    let asked = 0;
    while (isMoving) {
      const { status } = await kit.request({ client: callers[asked++ % callers.length]! });
      assert.notEqual(status, 200);
      // while the store is away an answer takes no turn of the event loop, and the move needs some
      await setImmediate();
    }
    await moving;
    await Promise.all(callers.map(spend));
    const again = await Promise.all(callers.map((client) => kit.request({ client })));
    assert.ok(again.every(({ status }) => status === 429 || status === 503));
  },
);

test(
  "the local part decides while the cluster is frozen, or a node of it is dead",
  settings,
  async (t) => {
    const use = { use: "rate-limit", options: { store: "redis", limit: "4/day", name: "away" } };
    const kit = await createKit([use], { redis: cluster.urls });
    t.after(() => kit.close());
    await eventually("the cluster", () => kit.storesUp.get("redis"));
    const ask = async (): Promise<number> => (await kit.request()).status;
    cluster.pause();
    t.after(() => cluster.resume());
    const statuses = [];
    for (let i = 0; i < 6; i++) statuses.push(await ask());
    assert.deepEqual(statuses, [200, 200, 200, 200, 429, 429]);
    cluster.resume();
    await eventually("the cluster", () => kit.storesUp.get("redis"));
    await cluster.nodes[1]!.stop();
    // every caller gets an answer, whichever node its counter was on
    for (let i = 0; i < 30; i++) {
      assert.equal((await kit.request({ client: `198.51.100.${i}` })).status, 200);
    }
  },
);
