import assert from "node:assert/strict";
import { after, before, test } from "node:test";
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
