import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { periodOf } from "../../plugins/quota-period.ts";
import { eventually } from "../support/eventually.ts";
import { createKit } from "../support/plugin-kit.ts";
import { RedisServer, redisMissing } from "../support/redis.ts";
import type { KitOptions, KitRequest, PluginKit } from "../support/plugin-kit.ts";

const settings = { skip: redisMissing };
let redis: RedisServer;
before(async () => {
  if (redisMissing === false) redis = await RedisServer.start();
});
after(() => redis?.stop());

type Test = { after(run: () => Promise<void>): void };

async function kitOf(t: Test, options: object, more: KitOptions = {}): Promise<PluginKit> {
  const kit = await createKit([{ use: "quota", options }], more);
  t.after(() => kit.close());
  return kit;
}

async function statuses(kit: PluginKit, count: number, request: KitRequest = {}) {
  const all = [];
  for (let i = 0; i < count; i++) all.push((await kit.request(request)).status);
  return all;
}
const acme = { consumer: { name: "acme", plan: null, groups: [] } };
const beta = { consumer: { name: "beta", plan: null, groups: [] } };

test("a quota holds until the day is over in UTC, however the clock of the process runs", async (t) => {
  const kit = await kitOf(t, { limit: "3/day" });
  kit.wallMs = Date.UTC(2026, 10, 21, 18);
  assert.deepEqual(await statuses(kit, 4, acme), [200, 200, 200, 429]);
  assert.deepEqual(await statuses(kit, 1, beta), [200]);
  kit.nowMs += 3 * 3_600_000;
  kit.wallMs += 3 * 3_600_000;
  const refused = await kit.request(acme);
  assert.equal(refused.status, 429);
  assert.equal(refused.headers["ratelimit-policy"], '"default";q=3;w=86400');
  assert.equal(refused.headers["ratelimit"], '"default";r=0;t=10800');
  assert(Number(refused.headers["retry-after"]) >= 10_800);
  assert.match(String(refused.problem?.["detail"]), /over the quota of 3 per day/);
  assert.deepEqual(refused.problem?.["violated-policies"], ["default"]);
  kit.wallMs += 3 * 3_600_000;
  assert.deepEqual(await statuses(kit, 4, acme), [200, 200, 200, 429]);
});

test("a month is the calendar's", async (t) => {
  const kit = await kitOf(t, { limit: "2/month", name: "monthly" });
  kit.wallMs = Date.UTC(2028, 1, 1);
  assert.equal(
    (await kit.request(acme)).headers["ratelimit-policy"],
    `"monthly";q=2;w=${29 * 86_400}`,
  );
  kit.wallMs = Date.UTC(2028, 1, 29, 23, 59, 59);
  kit.nowMs += 29 * 86_400_000 - 1000;
  assert.deepEqual(await statuses(kit, 2, acme), [200, 429]);
  kit.wallMs = Date.UTC(2028, 2, 1);
  assert.deepEqual(await statuses(kit, 1, acme), [200]);
});

test("a clock that is set back a day counts in that day's quota again, never above it", async (t) => {
  const kit = await kitOf(t, { limit: "2/day" });
  assert.deepEqual(await statuses(kit, 3, acme), [200, 200, 429]);
  kit.wallMs -= 86_400_000;
  assert.deepEqual(await statuses(kit, 3, acme), [200, 200, 429]);
  kit.wallMs += 86_400_000;
  assert.deepEqual(await statuses(kit, 1, acme), [429]);
});

test("periods end where the next begins", () => {
  assert.deepEqual(periodOf("day", Date.UTC(2026, 11, 31, 23, 0)), {
    name: "2026-12-31",
    endsInMs: 3_600_000,
  });
  assert.deepEqual(periodOf("month", Date.UTC(2026, 11, 31, 23, 0)), {
    name: "2026-12",
    endsInMs: 3_600_000,
  });
});

test("bytes may be what is counted", async (t) => {
  const upstream = () => ({ body: "x".repeat(3000) });
  const kit = await kitOf(t, { limit: "4/day", cost: { bytes: "1KiB" } }, { upstream });
  assert.deepEqual(await statuses(kit, 3, acme), [200, 200, 429]);
});

test("plan: true takes the quota of the consumer's plan", async (t) => {
  const of = (plan: string | null) => ({ consumer: { name: `of ${plan}`, plan, groups: [] } });
  const kit = await kitOf(
    t,
    { plan: true, limit: "1/day" },
    {
      plans: {
        gold: { limit: 9, windowMs: 1000, quota: { limit: 3, per: "month" } },
        free: { limit: 9, windowMs: 1000 },
      },
    },
  );
  assert.deepEqual(await statuses(kit, 4, of("gold")), [200, 200, 200, 429]);
  assert.match(String((await kit.request(of("gold"))).problem?.["detail"]), /3 per month/);
  // a plan without a quota, and a consumer without a plan, have the plugin's own
  assert.deepEqual(await statuses(kit, 2, of("free")), [200, 429]);
  assert.deepEqual(await statuses(kit, 2, of(null)), [200, 429]);
});

test("without a limit of its own a quota bounds only those whose plan has one", async (t) => {
  const kit = await kitOf(t, { plan: true }, { plans: { free: { limit: 9, windowMs: 1000 } } });
  const free = { consumer: { name: "f", plan: "free", groups: [] } };
  assert.deepEqual(await statuses(kit, 3, free), [200, 200, 200]);
});

test("a quota that nothing keeps says so when it is loaded", async (t) => {
  const kit = await kitOf(t, { limit: "3/day" });
  assert.deepEqual(
    kit.logs.map(({ level, message }) => [level, message]),
    [["warn", "a quota without stores.redis is forgotten when the process ends"]],
  );
});

test("with a store the count outlives the process", settings, async (t) => {
  const options = { limit: "3/day", onStoreError: "closed", name: "kept" };
  const ask = async (kit: PluginKit): Promise<number> => {
    for (;;) {
      const { status } = await kit.request(acme);
      if (status !== 503) return status;
      await eventually("redis", () => kit.storesUp.get("redis"));
    }
  };
  const first = await kitOf(t, options, { redis: redis.url });
  assert.equal(await ask(first), 200);
  assert.equal(await ask(first), 200);
  await first.close();
  const second = await kitOf(t, options, { redis: redis.url });
  assert.equal(await ask(second), 200);
  assert.equal(await ask(second), 429);
  const other = await kitOf(t, { ...options, name: "other" }, { redis: redis.url });
  assert.equal(await ask(other), 200);
});

test("what is no quota is refused when the configuration loads", async () => {
  for (const limit of ["10", "10/min", "0/day", "10/year"])
    await assert.rejects(createKit([{ use: "quota", options: { limit } }]), { part: "options" });
});
