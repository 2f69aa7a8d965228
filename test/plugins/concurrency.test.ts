import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import fc from "fast-check";
import { SharedState } from "../../proxy/observe/shared.ts";
import { createKit } from "../support/plugin-kit.ts";
import { definePlugin, reply } from "../../proxy/pipeline/plugin.ts";
import type { KitAnswer, PluginKit } from "../support/plugin-kit.ts";
import type { Permit } from "../../proxy/pipeline/plugin.ts";

/** Holds every request that comes in until it is told to go on. */
function holding() {
  const waiting: (() => void)[] = [];
  const plugin = definePlugin({
    name: "hold",
    stage: "transform",
    setup: () => ({ request: () => new Promise<void>((goOn) => waiting.push(goOn)) }),
  });
  return { plugin, waiting };
}

const acme = { name: "acme", plan: null, groups: [] };
const beta = { name: "beta", plan: null, groups: [] };

async function kitOf(
  t: { after(run: () => Promise<void>): void },
  options: object,
): Promise<{ kit: PluginKit; waiting: (() => void)[] }> {
  const { plugin, waiting } = holding();
  const kit = await createKit([{ use: "concurrency", options }, { use: plugin }]);
  t.after(() => kit.close());
  return { kit, waiting };
}

test("no more than the limit run at once, by consumer, and a place is free when one ends", async (t) => {
  const { kit, waiting } = await kitOf(t, { limit: 2 });
  const one = kit.request({ consumer: acme });
  const two = kit.request({ consumer: acme });
  const refused = await kit.request({ consumer: acme });
  assert.equal(refused.status, 429);
  assert.equal(refused.problem?.["code"], "rate-limited");
  assert.deepEqual(refused.problem?.["violated-policies"], ["concurrency"]);
  assert.match(String(refused.problem?.["detail"]), /2 requests of this caller run already/);
  assert.equal(refused.headers["ratelimit-policy"], '"concurrency";q=2;qu="concurrent-requests"');
  assert(Number(refused.headers["retry-after"]) >= 1);
  assert.equal(kit.count("rate_limited", "route", "concurrency"), 1);
  const other = kit.request({ consumer: beta });
  waiting.shift()!();
  assert.equal((await one).headers["ratelimit"], '"concurrency";r=1');
  const three = kit.request({ consumer: acme });
  assert.equal((await kit.request({ consumer: acme })).status, 429);
  for (const goOn of waiting) goOn();
  const answers: KitAnswer[] = await Promise.all([two, three, other]);
  assert.deepEqual(
    answers.map(({ status }) => status),
    [200, 200, 200],
  );
});

test("an answer from inside, an error and a refusal leave nothing behind", async (t) => {
  for (const inside of [
    () => reply(403),
    () => {
      throw new Error("broken");
    },
  ]) {
    const plugin = definePlugin({
      name: "inside",
      stage: "transform",
      setup: () => ({ request: inside }),
    });
    const kit = await createKit([{ use: "concurrency", options: { limit: 1 } }, { use: plugin }]);
    t.after(() => kit.close());
    const statuses = [];
    for (let i = 0; i < 4; i++) statuses.push((await kit.request({ consumer: acme })).status);
    assert(!statuses.includes(429), String(statuses));
  }
});

test("shadow refuses nothing", async (t) => {
  const { kit, waiting } = await kitOf(t, { limit: 1, shadow: true });
  const running = [kit.request({ consumer: acme }), kit.request({ consumer: acme })];
  for (const goOn of waiting) goOn();
  assert.deepEqual(
    (await Promise.all(running)).map(({ status }) => status),
    [200, 200],
  );
  assert.equal(kit.count("rate_limited", "route", "concurrency (shadow)"), 1);
});

test("callers without a consumer count by address, or are let by", async (t) => {
  const { kit, waiting } = await kitOf(t, { limit: 1 });
  const first = kit.request();
  assert.equal((await kit.request()).status, 429);
  const other = kit.request({ client: "192.0.2.9" });
  for (const goOn of waiting) goOn();
  await Promise.all([first, other]);
});

test("whatever the order of comings and goings, the count is right", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 5 }),
      fc.array(fc.tuple(fc.constantFrom("a", "b", "c"), fc.boolean(), fc.nat(1)), {
        maxLength: 80,
      }),
      (limit, steps) => {
        const first = SharedState.create({ endpoints: 1, limits: 32, gates: 32, threads: 3 });
        const states = [first, SharedState.open(first.handles, { thread: 1 })];
        const gates = states.map((state) => state.gate({ id: "x", limit }));
        const inside = new Map<string, Permit[]>();
        for (const [key, comes, thread] of steps) {
          const held = inside.get(key) ?? [];
          inside.set(key, held);
          if (comes) {
            const permit = gates[thread]!.enter(key);
            assert.equal(permit === null, held.length >= limit);
            if (permit !== null) held.push(permit);
          } else {
            const permit = held.shift();
            permit?.leave();
            permit?.leave();
          }
        }
      },
    ),
    { numRuns: 200 },
  );
});

test("threads never have more than the limit inside, and a dead one gives its places back", async () => {
  const state = SharedState.create({ endpoints: 1, limits: 32, gates: 32, threads: 8 });
  const seen = new Int32Array(new SharedArrayBuffer(8));
  const source = `
    import { workerData } from "node:worker_threads";
    const { SharedState } = await import(workerData.module);
    const gate = SharedState.open(workerData.handles, { thread: workerData.thread }).gate({ id: "x", limit: 3 });
    for (let i = 0; i < 5000; i++) {
      const permit = gate.enter("key");
      if (permit === null) continue;
      const running = Atomics.add(workerData.seen, 0, 1) + 1;
      if (running > 3) Atomics.store(workerData.seen, 1, running);
      Atomics.sub(workerData.seen, 0, 1);
      permit.leave();
    }
    // dies with one inside
    while (gate.enter("kept " + workerData.thread) === null);
  `;
  const module = new URL("../../proxy/observe/shared.ts", import.meta.url).href;
  const workers = [1, 2, 3, 4].map(
    (thread) =>
      new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`), {
        workerData: { module, thread, handles: state.handles, seen },
      }),
  );
  for (const [code] of await Promise.all(workers.map((worker) => once(worker, "exit"))))
    assert.equal(code, 0);
  assert.equal(seen[1], 0);
  const gate = state.gate({ id: "x", limit: 1 });
  assert.equal(gate.enter("kept 2"), null);
  for (const thread of [1, 2, 3, 4]) state.forgetThread(thread);
  assert.notEqual(gate.enter("kept 2"), null);
});
