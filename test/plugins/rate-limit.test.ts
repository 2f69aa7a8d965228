import assert from "node:assert/strict";
import { test } from "node:test";
import { clientKey } from "../../plugins/limit-key.ts";
import { windowText } from "../../plugins/limit-fields.ts";
import { Claims, definePlugin } from "../../proxy/pipeline/plugin.ts";
import { createKit } from "../support/plugin-kit.ts";
import type { KitOptions, KitRequest, KitUse, PluginKit } from "../support/plugin-kit.ts";

async function kitOf(
  t: { after(run: () => Promise<void>): void },
  options: object,
  more: KitOptions & { before?: KitUse[] } = {},
): Promise<PluginKit> {
  const kit = await createKit([...(more.before ?? []), { use: "rate-limit", options }], more);
  t.after(() => kit.close());
  return kit;
}

async function statuses(
  kit: PluginKit,
  count: number,
  request: KitRequest = {},
): Promise<number[]> {
  const all = [];
  for (let i = 0; i < count; i++) all.push((await kit.request(request)).status);
  return all;
}

for (const algorithm of ["gcra", "fixed-window", "sliding-window"]) {
  test(`${algorithm} lets exactly the limit through at once`, async (t) => {
    const kit = await kitOf(t, { limit: "5/min", algorithm });
    assert.deepEqual(await statuses(kit, 8), [200, 200, 200, 200, 200, 429, 429, 429]);
    kit.nowMs += 120_000;
    assert.deepEqual(await statuses(kit, 6), [200, 200, 200, 200, 200, 429]);
  });
}

test("a refusal says when to come back, and which policy it was", async (t) => {
  const kit = await kitOf(t, { limit: "2/min", name: "per-minute" });
  await statuses(kit, 2);
  const answer = await kit.request();
  assert.equal(answer.status, 429);
  assert.equal(answer.wasSync, true);
  assert.equal(answer.problem?.["code"], "rate-limited");
  assert.match(answer.headers["link"]!, /#quota-exceeded>; rel="type"$/);
  assert.deepEqual(answer.problem?.["violated-policies"], ["per-minute"]);
  assert.match(String(answer.problem?.["detail"]), /limit of 2 requests per minute/);
  assert.equal(answer.headers["retry-after"], "32");
  assert.equal(answer.headers["ratelimit-policy"], '"per-minute";q=2;w=60');
  assert.equal(answer.headers["ratelimit"], '"per-minute";r=0;t=30');
  assert.equal(answer.seen, null);
  assert.equal(kit.count("rate_limited", "route", "per-minute"), 1);
  kit.nowMs += 30_000;
  assert.equal((await kit.request()).status, 200);
});

test("an answer that was let through says what is left", async (t) => {
  const kit = await kitOf(t, { limit: "100/min", xHeaders: true });
  const answer = await kit.request();
  assert.equal(answer.headers["ratelimit-policy"], '"default";q=100;w=60');
  assert.equal(answer.headers["ratelimit"], '"default";r=99;t=1');
  assert.equal(answer.headers["x-ratelimit-limit"], "100");
  assert.equal(answer.headers["x-ratelimit-remaining"], "99");
  assert.equal(answer.headers["retry-after"], undefined);
});

test("two limits on a route are two items of the fields", async (t) => {
  const kit = await createKit([
    { use: "rate-limit", options: { limit: "10/s", name: "burst" } },
    { use: "rate-limit", id: "daily", options: { limit: "1000/day", name: "daily" } },
  ]);
  t.after(() => kit.close());
  const answer = await kit.request();
  assert.equal(answer.headers["ratelimit-policy"], '"daily";q=1000;w=86400, "burst";q=10;w=1');
  assert.equal(answer.headers["ratelimit"], '"daily";r=999;t=87, "burst";r=9;t=1');
});

test("burst and cost are in units of the limit", async (t) => {
  const kit = await kitOf(t, { limit: "60/min", burst: 3 });
  assert.deepEqual(await statuses(kit, 4), [200, 200, 200, 429]);
  kit.nowMs += 1000;
  assert.deepEqual(await statuses(kit, 2), [200, 429]);
  const costly = await kitOf(t, { limit: "10/min", cost: 4, name: "costly" });
  assert.deepEqual(await statuses(costly, 3), [200, 200, 429]);
});

test("an expression says what a request costs, and a mistake in it costs one", async (t) => {
  const cost = { cel: 'method == "POST" ? 4 : 1' };
  const kit = await kitOf(t, { limit: "10/min", cost });
  assert.deepEqual(await statuses(kit, 3, { method: "POST" }), [200, 200, 429]);
  assert.deepEqual(await statuses(kit, 3), [200, 200, 429]);
  const wrong = await kitOf(t, { limit: "2/min", cost: { cel: "claims.none" }, name: "wrong" });
  assert.deepEqual(await statuses(wrong, 3), [200, 200, 429]);
});

for (const [kind, sentBytes, answeredBytes] of [
  ["requestBytes", 3000, 0],
  ["responseBytes", 0, 3000],
  ["bytes", 1500, 1500],
] as const) {
  test(`${kind} cost as many units as they fill, the other direction nothing`, async (t) => {
    const upstream = () => ({ body: "y".repeat(answeredBytes) });
    const options = { limit: "4/day", cost: { [kind]: "1KiB" } };
    const kit = await createKit([{ use: "rate-limit", options }], { upstream });
    t.after(() => kit.close());
    const ask = () => kit.request({ method: "POST", body: "x".repeat(sentBytes) });
    // 1 to begin with, and 2 more owed
    assert.equal((await ask()).headers["ratelimit"], '"default";r=3;t=21600');
    assert.match((await ask()).headers["ratelimit"]!, /;r=0;/);
    assert.equal((await ask()).status, 429);
  });
}

test("bytes are owed after the answer, and later requests wait for them", async (t) => {
  const upstream = () => ({ body: "x".repeat(5000) });
  const options = { limit: "10/min", cost: { responseBytes: "1KiB" } };
  const kit = await kitOf(t, options, { upstream });
  // 5 units each: the third would be let in at 10 of 10, but for what the second owes
  assert.deepEqual(await statuses(kit, 3), [200, 200, 429]);
  kit.nowMs += 6000;
  assert.deepEqual(await statuses(kit, 2), [200, 429]);
  // 14 units: a full minute leaves 4 of debt's place
  kit.nowMs += 60_000;
  assert.equal((await kit.request()).headers["ratelimit"], '"default";r=5;t=30');
});

test("operators see who was refused, and until when", async (t) => {
  const kit = await kitOf(t, { limit: "1/min" });
  await statuses(kit, 2);
  assert.deepEqual(kit.refusals, [
    { route: "route", policy: "default", caller: "192.0.2.1", forMs: 60_000 },
  ]);
});

test("callers count apart by address, IPv6 ones by their /64", async (t) => {
  const kit = await kitOf(t, { limit: "1/min" });
  assert.equal((await kit.request({ client: "192.0.2.1" })).status, 200);
  assert.equal((await kit.request({ client: "192.0.2.2" })).status, 200);
  assert.equal((await kit.request({ client: "::ffff:192.0.2.2" })).status, 429);
  assert.equal((await kit.request({ client: "2001:db8:0:1::1" })).status, 200);
  assert.equal((await kit.request({ client: "2001:db8:0:1:ffff::2" })).status, 429);
  assert.equal((await kit.request({ client: "2001:db8:0:2::1" })).status, 200);
});

for (const [address, key] of [
  ["192.0.2.1", "c:192.0.2.1"],
  ["2001:db8::1", "c:2001:db8:0:0::/64"],
  ["2001:0DB8:0000::1", "c:2001:db8:0:0::/64"],
  ["::1", "c:0:0:0:0::/64"],
  ["fe80::1%eth0", "c:fe80:0:0:0::/64"],
  ["1:2:3:4:5:6:7:8", "c:1:2:3:4::/64"],
  ["64:ff9b::192.0.2.1", "c:64:ff9b:0:0::/64"],
] as const) {
  test(`${address} counts as ${key}`, () => assert.equal(clientKey(address), key));
}

const withClaims = definePlugin({
  name: "claims",
  stage: "authn",
  setup: () => ({ request: (req, ctx) => ctx.set(Claims, { sub: req.headers.get("x-sub") ?? 7 }) }),
});

for (const [what, by, one, two] of [
  ["consumer", "consumer", { consumer: consumer("a") }, { consumer: consumer("b") }],
  [
    "header",
    { header: "X-Tenant" },
    { headers: { "x-tenant": "a" } },
    { headers: { "x-tenant": "b" } },
  ],
  ["claim", { claim: "sub" }, { headers: { "x-sub": "a" } }, { headers: { "x-sub": "b" } }],
  [
    "expression",
    { cel: 'method + headers["x-a"]' },
    { headers: { "x-a": "1" } },
    { method: "POST" },
  ],
] as [string, unknown, KitRequest, KitRequest][]) {
  test(`callers count apart by ${what}`, async (t) => {
    const kit = await kitOf(t, { limit: "1/min", by }, { before: [{ use: withClaims }] });
    assert.deepEqual(await statuses(kit, 2, one), [200, 429]);
    assert.deepEqual(await statuses(kit, 2, two), [200, 429]);
  });
}

test("by route counts all callers together", async (t) => {
  const kit = await kitOf(t, { limit: "1/min", by: "route" });
  assert.equal((await kit.request({ client: "192.0.2.1" })).status, 200);
  assert.equal((await kit.request({ client: "192.0.2.2" })).status, 429);
});

function consumer(name: string, plan: string | null = null) {
  return { name, plan, groups: [] };
}

test("who lacks the key counts by address, is let through, or is refused with 400", async (t) => {
  const by = { header: "x-tenant" };
  const counts = await kitOf(t, { limit: "1/min", by });
  assert.deepEqual(await statuses(counts, 2), [200, 429]);
  const skips = await kitOf(t, { limit: "1/min", by, missing: "skip", name: "b" });
  assert.deepEqual(await statuses(skips, 3), [200, 200, 200]);
  const refuses = await kitOf(t, { limit: "1/min", by, missing: "reject", name: "c" });
  const answer = await refuses.request();
  assert.equal(answer.status, 400);
  assert.equal(answer.problem?.["code"], "bad-request");
});

test("plan: true takes the limit of the consumer's plan", async (t) => {
  const kit = await kitOf(
    t,
    { plan: true, limit: "1/min" },
    { plans: { gold: { limit: 3, windowMs: 60_000 } } },
  );
  assert.deepEqual(
    await statuses(kit, 4, { consumer: consumer("a", "gold") }),
    [200, 200, 200, 429],
  );
  assert.deepEqual(await statuses(kit, 2, { consumer: consumer("b") }), [200, 429]);
  assert.deepEqual(
    await statuses(kit, 4, { consumer: consumer("c", "gold") }),
    [200, 200, 200, 429],
  );
});

test("shadow counts what it would refuse, and refuses nothing", async (t) => {
  const kit = await kitOf(t, { limit: "1/min", shadow: true });
  assert.deepEqual(await statuses(kit, 3), [200, 200, 200]);
  assert.equal(kit.count("rate_limited", "route", "default (shadow)"), 2);
  assert.equal((await kit.request()).headers["ratelimit"], undefined);
});

test("routes count apart, and a reload does not reset", async (t) => {
  const use = { use: "rate-limit", options: { limit: "1/min" } };
  const kit = await createKit([use], { route: "a" });
  t.after(() => kit.close());
  assert.deepEqual(await statuses(kit, 2), [200, 429]);
  const [old] = kit.chain!.plugins;
  await kit.setUp([{ ...use, options: { limit: "1/min", xHeaders: true } }]);
  kit.store.release(old!);
  assert.deepEqual(await statuses(kit, 1), [429]);
});

test("without a limit and a plan it is 100 a minute", async (t) => {
  const kit = await createKit([{ use: "rate-limit", options: { burst: 1 } }]);
  t.after(() => kit.close());
  const answer = await kit.request();
  assert.equal(answer.headers["ratelimit-policy"], '"default";q=100;w=60');
});

test("options that make no sense are refused when the configuration loads", async () => {
  for (const options of [
    { limit: "100" },
    { limit: "0/min" },
    { limit: "10/fortnight" },
    { limit: "10/min", by: "ip" },
    { limit: "10/min", by: { cookie: "x" } },
    { limit: "10/min", cost: 11 },
    { limit: "10/min", burst: 0 },
    { limit: "10/min", name: 'a"b' },
    { limit: "10/min", algorithm: "leaky" },
  ]) {
    await assert.rejects(createKit([{ use: "rate-limit", options }]), { part: "options" });
  }
  await assert.rejects(
    createKit([{ use: "rate-limit", options: { limit: "1/s", by: { cel: "x" } } }]),
    /Unknown variable/,
  );
  await assert.rejects(
    createKit([{ use: "rate-limit", options: { limit: "1/s", store: "redis" } }]),
    /stores\.redis/,
  );
});

test("windows are said in words", () => {
  assert.equal(windowText(60_000), "minute");
  assert.equal(windowText(10_000), "10 seconds");
  assert.equal(windowText(86_400_000), "day");
});
