/** Plugins of connections: their order, their ends, and what their failures cost. */

import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { defineTcpPlugin, reject, Rejection, slot } from "../../../proxy/pipeline/plugin.ts";
import type { AnyPlugin, TcpDone, TcpPluginHooks } from "../../../proxy/pipeline/plugin.ts";
import { compileTcpChain, TcpRun } from "../../../proxy/pipeline/tcp-chain.ts";
import { tripFailures } from "../../../proxy/pipeline/trip.ts";
import { TunnelRecord } from "../../../proxy/tunnel/record.ts";
import { createKit } from "../../support/plugin-kit.ts";

const silent = { debug() {}, info() {}, warn() {}, error() {} };
const over: TcpDone = {
  durationMs: 1,
  requestBytes: 0,
  responseBytes: 0,
  attempts: 0,
  endpoint: null,
  end: "complete",
  code: null,
  detail: "",
};

function record(): TunnelRecord {
  const client = { address: "192.0.2.1", port: 1, socketAddress: "192.0.2.1", tls: null };
  const conn = { client, peer: null, listener: "db", secure: false, misdirected: () => false };
  return new TunnelRecord(conn, "id", 0, silent);
}

/** A plugin that notes its calls in `log`. */
function noting(
  name: string,
  log: string[],
  more: Partial<Parameters<typeof defineTcpPlugin>[0]> & { hooks?: TcpPluginHooks } = {},
): AnyPlugin {
  const { hooks = {}, ...rest } = more;
  return defineTcpPlugin({
    name,
    ...rest,
    setup: () => ({
      accept() {
        log.push(`${name}.accept`);
      },
      done() {
        log.push(`${name}.done`);
      },
      ...hooks,
    }),
  });
}

/** A connection through these plugins. */
async function running(t: TestContext, ...plugins: AnyPlugin[]): Promise<() => TcpRun> {
  const kit = await createKit(plugins.map((use) => ({ use })));
  t.after(() => kit.close());
  const chain = compileTcpChain(kit.chain!.plugins, new Set())!;
  return () => new TcpRun(chain, record());
}

function accepted(run: TcpRun): Promise<Rejection | null> {
  return new Promise((resolve) => run.accept(resolve));
}

test("by stage, then by list; the end in reverse; exactly once", async (t) => {
  const log: string[] = [];
  const open = await running(
    t,
    noting("late", log, { stage: "limit" }),
    noting("first", log),
    noting("second", log),
  );
  const run = open();
  assert.equal(await accepted(run), null);
  run.done(over);
  run.done(over);
  assert.deepEqual(log, [
    "first.accept",
    "second.accept",
    "late.accept",
    "late.done",
    "second.done",
    "first.done",
  ]);
});

test("a rejection keeps later plugins from the connection, and from its end", async (t) => {
  const log: string[] = [];
  const stop = noting("stop", log, { hooks: { accept: () => reject("no") } });
  const run = (await running(t, noting("before", log), stop, noting("after", log)))();
  assert.equal((await accepted(run))?.reason, "no");
  run.done(over);
  assert.deepEqual(log, ["before.accept", "stop.done", "before.done"]);
});

test("a promise is waited for, and one that settles after the end is dropped", async (t) => {
  let settle: (value: Rejection | undefined) => void = () => {};
  const slow = noting("slow", [], {
    hooks: { accept: () => new Promise((resolve) => (settle = resolve)) },
  });
  const log: string[] = [];
  const open = await running(t, slow, noting("next", log));
  const waiting = accepted(open());
  assert.deepEqual(log, []);
  settle(undefined);
  assert.equal(await waiting, null);
  assert.deepEqual(log, ["next.accept"]);
  const gone = open();
  let called = false;
  gone.accept(() => (called = true));
  gone.done(over);
  settle(reject("too late"));
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(called, false);
});

test("a rejected promise and a missed deadline close the connection, or pass where it fails open", async (t) => {
  for (const [onError, accept] of [
    ["closed", () => Promise.reject(new Error("a bug"))],
    ["closed", () => new Promise<undefined>(() => {})],
    ["open", () => Promise.reject(new Error("a bug"))],
    ["open", () => new Promise<undefined>(() => {})],
  ] as const) {
    const log: string[] = [];
    const broken = noting("broken", log, { onError, timeout: "20ms", hooks: { accept } });
    const run = (await running(t, broken, noting("next", log)))();
    const rejection = await accepted(run);
    if (onError === "open") assert.deepEqual([rejection, log], [null, ["next.accept"]]);
    else {
      assert.match(rejection!.reason, /plugin broken failed in its accept hook/);
      assert.deepEqual(log, []);
    }
  }
});

test("one that keeps failing is left alone for a while", async (t) => {
  let calls = 0;
  const broken = noting("broken", [], {
    hooks: {
      data() {
        calls++;
        throw new Error("a bug");
      },
    },
  });
  const run = (await running(t, broken))();
  for (let i = 0; i < tripFailures + 3; i++)
    assert.ok(run.data(Buffer.from("x"), "downstream") instanceof Rejection);
  assert.equal(calls, tripFailures);
});

test("each data hook sees what the one before it made of a chunk", async (t) => {
  const add = (name: string): AnyPlugin =>
    noting(name, [], { hooks: { data: (chunk) => Buffer.concat([chunk, Buffer.from(name)]) } });
  const run = (await running(t, add("a"), add("b")))();
  assert.equal(Buffer.from(run.data(Buffer.from("x"), "upstream") as Uint8Array).toString(), "xab");
});

test("peek asks for the most that any plugin wants", async (t) => {
  const kit = await createKit([
    { use: noting("a", [], { peek: { bytes: 5 } }) },
    { use: noting("b", [], { peek: { bytes: 3, timeoutMs: 500 } }) },
  ]);
  t.after(() => kit.close());
  const chain = compileTcpChain(kit.chain!.plugins, new Set())!;
  assert.deepEqual([chain.peekBytes, chain.peekTimeoutMs], [5, 500]);
});

test("slots are shared by the hooks of one connection, and by no other", async (t) => {
  const Name = slot<string>("name");
  const seen: (string | undefined)[] = [];
  const giver = noting("giver", [], {
    hooks: {
      accept(conn) {
        seen.push(conn.get(Name));
        conn.set(Name, "x");
      },
      done(_info, conn) {
        seen.push(conn.get(Name));
      },
    },
  });
  const open = await running(t, giver);
  for (let i = 0; i < 2; i++) {
    const run = open();
    await accepted(run);
    run.done(over);
  }
  assert.deepEqual(seen, [undefined, "x", undefined, "x"]);
});

test("an object with methods keeps its this", async (t) => {
  class Door {
    private readonly reason = "closed on Sundays";
    accept(): Rejection {
      return reject(this.reason);
    }
  }
  const door = defineTcpPlugin({ name: "door", setup: () => new Door() });
  const run = (await running(t, door))();
  assert.equal((await accepted(run))?.reason, "closed on Sundays");
});
