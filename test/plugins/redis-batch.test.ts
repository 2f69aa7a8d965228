/** Decisions that are asked for together: each is its own, whatever else is in the call. */

import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { Redis } from "ioredis";
import { eventually } from "../support/eventually.ts";
import { freePorts } from "../support/ports.ts";
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

/**
 * What `run` finds out about proxies with these limits. Null, which a machine that stalls for longer than a decision
 * may take makes it say: the same again with new ones.
 */
async function decided<T>(
  limits: readonly object[],
  run: (kits: readonly PluginKit[]) => Promise<T | null>,
  url = redis.url,
): Promise<T> {
  for (;;) {
    const kits: PluginKit[] = [];
    try {
      for (const limit of limits) {
        const own = { store: "redis", onStoreError: "closed", name: `batch-${++names}` };
        const use = { use: "rate-limit", options: { ...own, ...limit } };
        kits.push(await createKit([use], { redis: url }));
      }
      // the first user of the worker's one connection tells when it is there
      await eventually("the store", () => kits[0]!.storesUp.get("redis"));
      const result = await run(kits);
      if (result !== null) return result;
    } finally {
      for (const kit of kits) await kit.close();
    }
  }
}

const clients = Array.from({ length: 100 }, (_, i) => `192.0.2.${i}`);

/** How many of five requests of each client passed, all asked at once in turns. */
async function passed([kit]: readonly PluginKit[]): Promise<ReadonlySet<number> | null> {
  const asked = Array.from({ length: 5 }, () => clients).flat();
  const answers = await Promise.all(asked.map((client) => kit!.request({ client })));
  if (answers.some(({ status }) => status === 503)) return null;
  const counts = new Map(clients.map((client) => [client, 0]));
  for (const [i, { status }] of answers.entries())
    if (status === 200) counts.set(asked[i]!, counts.get(asked[i]!)! + 1);
  return new Set(counts.values());
}

for (const algorithm of ["gcra", "sliding-window"]) {
  test(`${algorithm}: a hundred callers at once each get exactly their own`, settings, async () => {
    const counts = await decided([{ limit: "3/day", algorithm }], passed);
    assert.deepEqual(counts, new Set([3]));
  });
}

test("limits of different size in one call keep their own rules and fields", settings, async () => {
  const sizes = [1, 2, 7, 40];
  const answers = await decided(
    sizes.map((size) => ({ limit: `${size}/day` })),
    async (kits) => {
      const asked = Array.from({ length: 50 }, () => kits).flat();
      const all = await Promise.all(asked.map((kit) => kit.request()));
      return all.some(({ status }) => status === 503) ? null : all;
    },
  );
  for (const [at, size] of sizes.entries()) {
    const own = answers.filter((_, i) => i % sizes.length === at);
    for (const { headers } of own)
      assert.ok(headers["ratelimit-policy"]!.endsWith(`;q=${size};w=86400`));
    const left = own
      .filter(({ status }) => status === 200)
      .map(({ headers }) => Number(/;r=(\d+);/.exec(headers["ratelimit"]!)![1]));
    assert.deepEqual(
      left,
      Array.from({ length: size }, (_, i) => size - 1 - i),
    );
  }
});

test("decisions of one turn are one command", settings, async (t) => {
  const client = new Redis(redis.url);
  t.after(() => client.disconnect());
  const calls = async (): Promise<number> => {
    const stats = await client.info("commandstats");
    return [...stats.matchAll(/cmdstat_eval(?:sha)?:calls=(\d+)/g)].reduce(
      (sum, [, count]) => sum + Number(count),
      0,
    );
  };
  const commands = await decided([{ limit: "1000/day" }], async ([kit]) => {
    const earlier = await calls();
    const asked = clients.slice(0, 64).map((each) => kit!.request({ client: each }));
    const answers = await Promise.all(asked);
    const made = (await calls()) - earlier;
    return answers.every(({ status }) => status === 200) ? made : null;
  });
  assert.equal(commands, 1);
});

test(
  "a node of a cluster that is taken for a single server is asked by key",
  settings,
  async (t) => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "weft-batch-"));
    const [port, bus] = (await freePorts(2)) as [number, number];
    const flags = ["--cluster-enabled", "yes", "--cluster-port", String(bus), "--dir", folder];
    const node = await RedisServer.start(port, flags);
    const client = new Redis(node.url);
    t.after(async () => {
      client.disconnect();
      await node.stop();
      fs.rmSync(folder, { recursive: true, force: true });
    });
    await client.cluster("ADDSLOTSRANGE", 0, 16383);
    await eventually("all slots", async () =>
      String(await client.cluster("INFO")).includes("cluster_state:ok"),
    );
    assert.deepEqual(await decided([{ limit: "3/day" }], passed, node.url), new Set([3]));
  },
);
