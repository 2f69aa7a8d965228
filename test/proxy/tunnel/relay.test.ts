/** The relay by a clock that only the test moves: what waits for a time limit, and what does not. */

import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { after, before, beforeEach, describe, test } from "node:test";
import { defaultEjection } from "../../../policies/ejection.ts";
import { Wheel } from "../../../proxy/clock.ts";
import type { Secure } from "../../../proxy/listen/listener.ts";
import { PlainInfo } from "../../../proxy/listen/connection-info.ts";
import { Transport } from "../../../proxy/listen/transport.ts";
import { Metrics } from "../../../proxy/observe/metrics.ts";
import { ServiceMetrics } from "../../../proxy/observe/request-metrics.ts";
import { SharedState } from "../../../proxy/observe/shared.ts";
import { ServiceSet } from "../../../proxy/service/set.ts";
import {
  SnapshotUse,
  type Policy,
  type Snapshot,
  type StreamTarget,
} from "../../../proxy/snapshot.ts";
import { Habit } from "../../../proxy/tunnel/habit.ts";
import { serveRelay, type RelayEnv } from "../../../proxy/tunnel/relay.ts";
import { createDial } from "../../../proxy/upstream/connect.ts";
import { eventually } from "../../support/eventually.ts";
import { Origin } from "../../support/origin.ts";
import { RawClient } from "../../support/raw-client.ts";

const log = { debug() {}, info() {}, warn() {}, error() {} };

/** Never has a time limit of its own: only those of detection are left. */
const policy: Policy = {
  timeoutMs: 0,
  totalTimeoutMs: 0,
  attemptTimeoutMs: 0,
  connectTimeoutMs: 0,
  idleTimeoutMs: 0,
  retry: {
    attempts: 0,
    on: new Set(),
    backoffBaseMs: 0,
    backoffMaxMs: 0,
    budgetPct: 20,
    budgetFloorPerS: 10,
  },
};

let mail: Origin;
let server: net.Server;
let nowMs = 0;
let wheel: Wheel;
let habit: Habit;
let by: StreamTarget["by"];
/** Connections that were taken for HTTP. */
let http: number;
let use: SnapshotUse;

before(async () => {
  mail = await Origin.start(async (connection) => {
    connection.send("220 ready\r\n");
    await connection.untilEnded();
    connection.end();
  });
  const shared = SharedState.create({ limits: 32 });
  const set = new ServiceSet({ shared, metrics: null, now: () => nowMs });
  const target = {
    host: "127.0.0.1",
    port: mail.port,
    key: "mail",
    tls: null,
    protocol: "tcp",
  } as const;
  const spec = {
    name: "mail",
    endpoints: [{ address: mail.address, weight: 1, target }],
    balance: "round-robin",
    ejection: defaultEjection,
    health: null,
  } as const;
  const service = set.apply([spec]).get("mail")!;
  const to = { service, policy };
  const metrics = new ServiceMetrics(new Metrics({ announce() {} }), "gateway");
  server = net.createServer({ pauseOnConnect: true, allowHalfOpen: true }, (raw) => {
    const streams = new Map<string, StreamTarget>([
      ["port", { by, to, named: () => null, chain: null }],
    ]);
    const snapshot: Snapshot = {
      version: 1,
      planes: { edge: null, outbound: null, inbound: null },
      services: set.services,
      streams,
      activate() {},
      use,
    };
    const env: RelayEnv = {
      wheel,
      log,
      accessLog: null,
      metrics,
      dial: createDial({ wheel, now: () => nowMs }),
      habit,
      snapshot: () => snapshot,
      serveHttp: (transport) => {
        http++;
        transport.handler = {
          onData: () => transport.write("HTTP\n"),
          onEnd: () => transport.end(),
          onClose() {},
          onDrain() {},
        };
        transport.resume();
        return { drain() {}, destroy: () => transport.destroy() };
      },
      now: () => nowMs,
      newId: () => "0".repeat(32),
    };
    const transport = Transport.accepted(raw);
    const client = { address: "127.0.0.1", port: 1, socketAddress: "127.0.0.1", tls: null };
    const secure: Secure | null = null;
    serveRelay(transport, new PlainInfo("port", client, transport.socket, null), env, secure);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
});
after(async () => {
  server.close();
  await mail.close();
});
beforeEach(() => {
  nowMs = 1_000_000;
  wheel = new Wheel(() => nowMs);
  habit = new Habit();
  by = "first-bytes";
  http = 0;
  use = new SnapshotUse(() => {});
});

function connect(): Promise<RawClient> {
  return RawClient.connect((server.address() as net.AddressInfo).port);
}

/** Moves the clock on; what is due happens now. */
function pass(ms: number): void {
  nowMs += ms;
  wheel.advance(nowMs);
}

/** The greeting has reached weft, as far as anybody outside can tell. */
async function greeted(count: number): Promise<void> {
  await mail.until("the call", () => mail.connections.length > count);
  const { socket } = mail.connections[count]!;
  await eventually("the greeting to be sent", () => socket.bytesWritten >= 11);
}

describe("a service that speaks first", () => {
  test("is heard at once on a port that is declared to be its own: no clock moves", async () => {
    by = "listener";
    using client = await connect();
    await client.has("220 ready\r\n");
  });

  test("is called at once on a port that detects, and heard within 200 ms", async () => {
    const count = mail.connections.length;
    using client = await connect();
    await greeted(count);
    assert.equal(client.text, "");
    pass(200);
    await client.has("220 ready\r\n");
  });

  test("is heard at once from the second time on: no clock moves", async () => {
    habit.learn("service");
    using client = await connect();
    await client.has("220 ready\r\n");
  });

  test("lets a caller of HTTP speak who is slower than it", async () => {
    const count = mail.connections.length;
    using client = await connect();
    await greeted(count);
    await client.send("GET / HTTP/1.1\r\n\r\n");
    await client.has("HTTP\n");
    assert.equal(http, 1);
    // what it had said is for nobody
    assert.equal(client.text, "HTTP\n");
    await mail.connections[count]!.untilEnded();
  });

  test("is asked to wait again once HTTP has been seen", async () => {
    habit.learn("service");
    habit.learn("http");
    const count = mail.connections.length;
    using client = await connect();
    await greeted(count);
    await client.send("GET / HTTP/1.1\r\n\r\n");
    await client.has("HTTP\n");
  });

  test("is not called before its time on a port that has had sixteen requests in a row", async () => {
    for (let i = 0; i < 16; i++) habit.learn("http");
    const count = mail.connections.length;
    using client = await connect();
    // the relay is there once it has armed its limit
    await eventually("the limit", () => wheel.size > 0);
    assert.equal(mail.connections.length, count);
    pass(200);
    // from now on whoever speaks first decides: the clock has done its part
    await client.has("220 ready\r\n");
  });

  test("and says goodbye at once is heard, goodbye and all", async () => {
    const script = mail.script;
    mail.script = (connection) => {
      connection.send("421 too busy\r\n");
      connection.end();
    };
    const count = mail.connections.length;
    using client = await connect();
    await mail.until("the call", () => mail.connections.length > count);
    const { socket } = mail.connections[count]!;
    await eventually("its end", () => socket.writableFinished);
    mail.script = script;
    // as many turns as an end needs to arrive
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
    pass(200);
    assert.equal(await client.untilEnded(), "421 too busy\r\n");
  });
});

test("half a request line is HTTP once the time of detection is over", async () => {
  using client = await connect();
  await client.send("GE");
  await eventually("the limit", () => wheel.size > 0);
  for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(http, 0);
  pass(200);
  await client.has("HTTP\n");
});

test("a ClientHello that stops half-way is waited for, ten seconds and no longer", async () => {
  by = "server-name";
  using client = await connect();
  await client.send(Buffer.from("16030100500100", "hex"));
  await eventually("the limit", () => wheel.size > 0);
  pass(9_000);
  assert.equal(client.closed, false);
  pass(1_100);
  await client.untilClosed();
  assert.equal(client.error?.code, "ECONNRESET");
});

test("every connection gives its snapshot back", async () => {
  const client = await connect();
  pass(200);
  await client.has("220 ready\r\n");
  assert.equal(use.active, 1);
  client.end();
  await client.untilClosed();
  await eventually("no connection to hold it", () => use.active === 0);
});
