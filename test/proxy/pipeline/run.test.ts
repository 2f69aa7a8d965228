import assert from "node:assert/strict";
import { test } from "node:test";
import { ProxyError } from "../../../proxy/errors.ts";
import { definePlugin, problem, reply } from "../../../proxy/pipeline/plugin.ts";
import type { AnyPlugin, Hooks, Stage } from "../../../proxy/pipeline/plugin.ts";
import { PENDING, runConnection, runDone, runRequest } from "../../../proxy/pipeline/run.ts";
import { createKit } from "../../support/plugin-kit.ts";
import type { KitUse } from "../../support/plugin-kit.ts";

/** A plugin that notes its calls in `log`. */
function noting(
  name: string,
  log: string[],
  options: { stage?: Stage; hooks?: Hooks; onError?: "open" | "closed"; timeout?: string } = {},
): AnyPlugin {
  const { stage = "transform", hooks = {}, ...rest } = options;
  return definePlugin({
    name,
    stage,
    ...rest,
    setup: () => ({
      request() {
        log.push(`${name}.request`);
      },
      response() {
        log.push(`${name}.response`);
      },
      done() {
        log.push(`${name}.done`);
      },
      ...hooks,
    }),
  });
}

test("response and done hooks run in the reverse order of request hooks", async (t) => {
  const log: string[] = [];
  const kit = await createKit([{ use: noting("a", log) }, { use: noting("b", log) }]);
  t.after(() => kit.close());
  const answer = await kit.request();
  assert.equal(answer.status, 200);
  assert.deepEqual(log, ["a.request", "b.request", "b.response", "a.response", "b.done", "a.done"]);
});

test("a reply skips later plugins on both ways, and only those", async (t) => {
  const log: string[] = [];
  const stop = noting("stop", log, {
    hooks: {
      request() {
        log.push("stop.request");
        return reply(401, "no");
      },
    },
  });
  const kit = await createKit([
    { use: noting("before", log) },
    { use: stop },
    { use: noting("after", log) },
  ]);
  t.after(() => kit.close());
  const answer = await kit.request();
  assert.equal(answer.status, 401);
  assert.equal(answer.problem?.["detail"], "no");
  assert.equal(answer.seen, null);
  assert.deepEqual(log, [
    "before.request",
    "stop.request",
    "stop.response",
    "before.response",
    "stop.done",
    "before.done",
  ]);
});

test("synchronous plugins make no promise, asynchronous ones are waited for in order", async (t) => {
  const log: string[] = [];
  const slow = noting("slow", log, {
    hooks: {
      async request() {
        await Promise.resolve();
        log.push("slow.request");
      },
    },
  });
  const quick = await createKit([{ use: noting("a", log) }]);
  const mixed = await createKit([{ use: slow }, { use: noting("b", log) }]);
  t.after(() => Promise.all([quick.close(), mixed.close()]));
  assert.equal((await quick.request()).wasSync, true);
  log.length = 0;
  assert.equal((await mixed.request()).wasSync, false);
  assert.deepEqual(log.slice(0, 2), ["slow.request", "b.request"]);
});

test("a promise of a reply stops the exchange", async (t) => {
  const log: string[] = [];
  const stop = noting("stop", log, { hooks: { request: async () => reply(403, "no entry") } });
  const kit = await createKit([{ use: stop }, { use: noting("b", log) }]);
  t.after(() => kit.close());
  const answer = await kit.request();
  assert.equal(answer.status, 403);
  assert.deepEqual(log, ["stop.response", "stop.done"]);
});

for (const [how, request] of Object.entries({
  throws: (): never => {
    throw new Error("boom");
  },
  rejects: (): Promise<undefined> => Promise.reject(new Error("boom")),
})) {
  test(`a plugin that ${how} fails closed with plugin-error and its name`, async (t) => {
    const kit = await createKit([{ use: noting("bad", [], { hooks: { request } }) }]);
    t.after(() => kit.close());
    const answer = await kit.request();
    assert.equal(answer.status, 500);
    assert.equal(answer.problem?.["code"], "plugin-error");
    assert.match(String(answer.problem?.["detail"]), /bad/);
    assert.equal(kit.count("plugin_errors", "bad"), 1);
  });

  test(`a plugin that ${how} is passed over when it fails open`, async (t) => {
    const log: string[] = [];
    const bad = noting("bad", [], { hooks: { request }, onError: "open" });
    const kit = await createKit([{ use: bad }, { use: noting("b", log) }]);
    t.after(() => kit.close());
    assert.equal((await kit.request()).status, 200);
    assert.equal(log[0], "b.request");
  });
}

test("a promise that never settles costs the plugin its deadline, not the exchange", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const hangs = noting("hangs", [], {
    timeout: "250ms",
    hooks: { request: () => new Promise(() => {}) },
  });
  const kit = await createKit([{ use: hangs }]);
  t.after(() => kit.close());
  const asked = kit.request();
  t.mock.timers.tick(250);
  const answer = await asked;
  assert.equal(answer.status, 500);
  assert.match(String(kit.logs[0]?.fields && JSON.stringify(kit.logs[0].fields)), /250 ms/);
});

test("five failures within ten seconds take the plugin out for ten, then one call decides", async (t) => {
  let calls = 0;
  let isBroken = true;
  const bad = noting("bad", [], {
    hooks: {
      request() {
        calls++;
        if (isBroken) throw new Error("boom");
      },
    },
  });
  const kit = await createKit([{ use: bad }]);
  t.after(() => kit.close());
  for (let i = 0; i < 5; i++) await kit.request();
  assert.equal((await kit.request()).status, 500);
  assert.equal(calls, 5);
  kit.nowMs += 10_001;
  await kit.request();
  assert.equal(calls, 6);
  assert.equal((await kit.request()).status, 500);
  assert.equal(calls, 6);
  isBroken = false;
  kit.nowMs += 10_001;
  assert.equal((await kit.request()).status, 200);
  assert.equal((await kit.request()).status, 200);
  assert.equal(calls, 8);
});

test("failures spread over more than ten seconds do not trip", async (t) => {
  let calls = 0;
  const bad = noting("bad", [], {
    hooks: {
      request() {
        calls++;
        throw new Error("boom");
      },
    },
  });
  const kit = await createKit([{ use: bad }]);
  t.after(() => kit.close());
  for (let i = 0; i < 20; i++) {
    await kit.request();
    kit.nowMs += 3000;
  }
  assert.equal(calls, 20);
});

test("a condition is asked once per exchange and holds for all hooks", async (t) => {
  const log: string[] = [];
  const changes = definePlugin({
    name: "changes",
    stage: "transform",
    setup: () => ({
      request(req) {
        req.method = "POST";
      },
    }),
  });
  const kit = await createKit([
    { use: noting("gets", log), when: 'method == "GET"' },
    { use: noting("posts", log), id: "posts", when: 'method == "PUT"' },
    { use: changes },
  ]);
  t.after(() => kit.close());
  await kit.request();
  assert.deepEqual(log, ["gets.request", "gets.response", "gets.done"]);
});

test("a reply of a response hook is seen by the plugins outside of it only", async (t) => {
  const log: string[] = [];
  let calls = 0;
  const swaps = noting("swaps", log, {
    hooks: {
      response() {
        calls++;
        return problem("upstream-invalid", 502, "swapped");
      },
    },
  });
  const kit = await createKit([
    { use: noting("outer", log) },
    { use: swaps },
    { use: noting("inner", log) },
  ]);
  t.after(() => kit.close());
  const answer = await kit.request();
  assert.equal(answer.status, 502);
  assert.equal(calls, 1);
  assert.equal(log.filter((line) => line === "inner.response").length, 1);
  assert.equal(log.filter((line) => line === "outer.response").length, 1);
  assert.deepEqual(log.slice(-3), ["inner.done", "swaps.done", "outer.done"]);
});

test("an answer before routing passes the hooks of the plugins that were reached", async (t) => {
  const log: string[] = [];
  const early = noting("early", log, {
    hooks: {
      early() {
        return reply(200, "maintenance");
      },
    },
  });
  const kit = await createKit([
    { use: noting("a", log) },
    { use: early },
    { use: noting("b", log) },
  ]);
  t.after(() => kit.close());
  const answer = await kit.request();
  assert.equal(answer.body.toString(), "maintenance");
  assert.deepEqual(log, ["early.response", "a.response", "early.done", "a.done"]);
});

test("a promise that settles after the end of the exchange is dropped", async (t) => {
  const log: string[] = [];
  let release: (value: undefined) => void = () => {};
  const waits = noting("waits", log, {
    hooks: { request: () => new Promise((resolve) => (release = resolve)) },
  });
  const kit = await createKit([{ use: waits }, { use: noting("b", log) }]);
  t.after(() => kit.close());
  const x = kit.exchange();
  let resumed = 0;
  assert.equal(
    runRequest(kit.chain, x, () => resumed++),
    PENDING,
  );
  const end = {
    status: 0,
    code: null,
    durationMs: 0,
    requestBytes: 0,
    responseBytes: 0,
    attempts: 0,
    endpoint: null,
    end: "client-aborted",
  } as const;
  runDone(kit.chain, x, end);
  runDone(kit.chain, x, end);
  release(undefined);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(resumed, 0);
  assert.deepEqual(log, ["waits.done"]);
});

test("an error hook maps an error to an answer", async (t) => {
  const big = definePlugin({
    name: "big",
    stage: "transform",
    body: { request: { buffer: 4 } },
    setup: () => ({ requestBody: () => undefined }),
  });
  const maps = definePlugin({
    name: "maps",
    stage: "observe",
    setup: () => ({
      error: (error: ProxyError) =>
        error.code === "body-too-large" ? reply(200, "too big, but fine") : undefined,
    }),
  });
  const kit = await createKit([{ use: maps }, { use: big }]);
  t.after(() => kit.close());
  const answer = await kit.request({ method: "POST", body: "12345" });
  assert.equal(answer.body.toString(), "too big, but fine");
});

test("a connection hook may refuse a connection", async (t) => {
  const gate: KitUse = {
    use: definePlugin({
      name: "gate",
      stage: "admit",
      setup: () => ({
        connection: (conn) => (conn.client.address === "192.0.2.9" ? reply(403) : undefined),
      }),
    }),
  };
  const kit = await createKit([gate]);
  t.after(() => kit.close());
  const connect = (address: string) =>
    runConnection(kit.chain, {
      client: { address, port: 1, socketAddress: address, tls: null },
      peer: null,
      listener: "web",
    });
  assert.equal(connect("192.0.2.9")?.status, 403);
  assert.equal(connect("192.0.2.8"), null);
});
