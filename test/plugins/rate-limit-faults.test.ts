/** Redis behind a socket that breaks in every way: weft decides before the fault ends, and comes back in good order. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { eventually } from "../support/eventually.ts";
import { FaultSocket } from "../support/fault-socket.ts";
import type { Fault } from "../support/fault-socket.ts";
import { createKit } from "../support/plugin-kit.ts";
import type { PluginKit } from "../support/plugin-kit.ts";
import { RedisServer, redisMissing } from "../support/redis.ts";

const settings = { skip: redisMissing };
let redis: RedisServer;
before(async () => {
  if (redisMissing === false) redis = await RedisServer.start();
});
after(() => redis?.stop());

type Test = { after(run: () => unknown): void };
const ways = ["local", "open", "closed"] as const;
let names = 0;

/** Three proxies' worth of limits, one for each way to go on without the store, behind one socket. */
async function behind(
  t: Test,
  algorithm = "gcra",
): Promise<{ socket: FaultSocket; kits: Record<(typeof ways)[number], PluginKit> }> {
  const socket = await FaultSocket.start(redis.port);
  const [local, open, closed] = await Promise.all(
    ways.map((onStoreError) => {
      const name = `faults-${++names}`;
      const counted = { limit: "4/day", algorithm, replicas: 2, name };
      const options = { ...counted, store: "redis", onStoreError };
      return createKit([{ use: "rate-limit", options }], { redis: socket.url });
    }),
  );
  t.after(async () => {
    for (const kit of [local!, open!, closed!]) await kit.close();
    socket.close();
  });
  await eventually("the store", () => local!.storesUp.get("redis"));
  return { socket, kits: { local: local!, open: open!, closed: closed! } };
}

const ask = async (kit: PluginKit): Promise<number> => (await kit.request()).status;

const faults: Readonly<Record<string, Fault>> = {
  "answers too late": "hold",
  "takes commands and never answers": "swallow",
  "hears nothing": "deaf",
  "answers half a reply": "half",
  "resets its connections": "cut",
  "is loading": { reply: "-LOADING Redis is loading the dataset in memory\r\n" },
  "is read-only": { reply: "-READONLY You can't write against a read only replica.\r\n" },
  "has moved the key": { reply: "-MOVED 3999 127.0.0.1:1\r\n" },
  "is in a cluster that is down": { reply: "-CLUSTERDOWN The cluster is down\r\n" },
  "wants a password": { reply: "-NOAUTH Authentication required.\r\n" },
  "is out of memory": { reply: "-OOM command not allowed when used memory > 'maxmemory'.\r\n" },
  "answers something else": { reply: "+OK\r\n" },
  "answers nothing": { reply: "$-1\r\n" },
  "answers an empty list": { reply: "*0\r\n" },
  "answers texts for numbers": { reply: "*4\r\n$1\r\nx\r\n$1\r\ny\r\n$1\r\nz\r\n$1\r\nw\r\n" },
  "speaks no Redis": { reply: "HTTP/1.1 400 Bad Request\r\n\r\n" },
};

const cases = Object.entries(faults).flatMap(([what, fault]) => [
  [what, fault, "gcra"] as const,
  // counted by a library, which has ideas of its own about answers
  ...(typeof fault === "object" ? [[what, fault, "fixed-window"] as const] : []),
]);

for (const [what, fault, algorithm] of cases) {
  test(`${algorithm}: a store that ${what}: all decide before it ends`, settings, async (t) => {
    const { socket, kits } = await behind(t, algorithm);
    socket.set(fault);
    // the fault stands until this is over: whoever waited for the store would wait here for ever
    const [local, open, closed] = await Promise.all([
      Promise.all(Array.from({ length: 6 }, () => ask(kits.local))),
      ask(kits.open),
      kits.closed.request(),
    ]);
    assert.deepEqual(local.toSorted(), [200, 200, 429, 429, 429, 429]);
    assert.equal(open, 200);
    assert.deepEqual([closed.status, closed.problem?.["code"]], [503, "overloaded"]);
    assert.equal(closed.headers["retry-after"], "1");
    // from now on nobody waits at all
    const next = await kits.local.request();
    assert.deepEqual([next.status, next.wasSync], [429, true]);
    // the first user of the worker's one connection tells
    const told = Object.values(kits).filter((kit) => kit.storesUp.get("redis") === false);
    assert.equal(told.length, 1);
    const lines = told[0]!.logs.filter(({ level }) => level === "warn");
    assert.equal(lines.length, 1);
    assert.match(lines[0]!.message, /redis store is away/);
    assert.notEqual((lines[0]!.fields as { reason: string }).reason, "");
    socket.set("pass");
    await eventually("the store", () => told[0]!.storesUp.get("redis"));
    // what nobody waited for has been counted, or not: the store's own decision is what matters
    await eventually("a decision of the store", async () => {
      const answer = await kits.closed.request();
      return !answer.wasSync && (answer.status === 200 || answer.status === 429);
    });
  });
}

test("while the store is away thousands of requests cost it a few probes", settings, async (t) => {
  const { socket, kits } = await behind(t);
  socket.set("swallow");
  await ask(kits.local);
  const before = socket.commands;
  for (let i = 0; i < 5000; i++) assert.ok((await kits.local.request()).wasSync);
  // one probe at a time, at most 10 a second at first, then one in two seconds
  assert.ok(socket.commands - before < 50, String(socket.commands - before));
});

test(
  "a store that comes back gets one connection, and a command for many requests",
  settings,
  async (t) => {
    const { socket, kits } = await behind(t);
    socket.set("cut");
    await Promise.all(Array.from({ length: 500 }, () => ask(kits.local)));
    await eventually("the loss", async () => (await kits.local.request()).wasSync);
    for (let i = 0; i < 2000; i++) await ask(kits.local);
    // those of the time it was away: each a pause after the one before, whatever the number of requests
    assert.ok(socket.connections < 30, String(socket.connections));
    const { connections } = socket;
    socket.set("pass");
    const up = Object.values(kits).find((kit) => kit.storesUp.has("redis"))!;
    await eventually("the store", () => up.storesUp.get("redis"));
    // a try may have been cut just before
    assert.ok(socket.connections - connections <= 2, String(socket.connections - connections));
    const after = socket.connections;
    const { commands } = socket;
    await Promise.all(Array.from({ length: 200 }, () => ask(kits.open)));
    assert.equal(socket.connections, after);
    const sent = socket.commands - commands;
    // 64 decisions to a command at most; a probe or two may come between
    assert.ok(sent >= 4 && sent <= 6, String(sent));
  },
);
