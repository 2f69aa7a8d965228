/** WebSockets over HTTP/1.1 (Upgrade) and HTTP/2 (extended CONNECT): ends and aborts either way, limits, counts, the log. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { eventually, within } from "../support/eventually.ts";
import { Lanes, type Lane } from "../support/lanes.ts";
import { ok, type OriginConnection } from "../support/origin.ts";
import { root } from "../support/source-tree.ts";
import { asking, over1, over2, switching } from "../support/websocket-callers.ts";

/** Of idleTimeout, totalTimeout and timeout: longer than a busy machine may take for one message. */
const limitMs = 1000;

let lanes: Lanes;
before(async () => {
  lanes = await Lanes.start({
    kinds: {
      default: { count: 30 },
      idle: { count: 4, policy: `{ idleTimeout: ${limitMs}ms }` },
      total: { count: 2, policy: `{ totalTimeout: ${limitMs}ms }` },
      late: { count: 2, policy: `{ timeout: ${limitMs}ms }` },
      waiting: { count: 2, plugins: `[${root}/test/e2e/plugins/held.ts]` },
    },
    more: "observe: { accessLog: { format: json } }",
  });
});
after(() => lanes.stop());

/** Switches, then leaves everything to the test. */
async function switched(connection: OriginConnection): Promise<void> {
  await connection.head();
  connection.send(switching);
}

/** Bytes of the tunnel at the service. */
const tunnelled = (connection: OriginConnection): string =>
  connection.text.slice(connection.text.indexOf("\r\n\r\n") + 4);

/** The access log's line of the lane's only exchange. */
async function logged(lane: Lane): Promise<Record<string, unknown>> {
  const route = lane.host.replace(".test", "");
  return eventually("the log line", () => {
    const line = lane.gateway.stdout
      .split("\n")
      .find((each) => each.includes(`"route":"${route}"`) && each.endsWith("}"));
    return line === undefined ? null : (JSON.parse(line) as Record<string, unknown>);
  });
}

/** Turns of the gateway's clock, one answer of its admin API each, until then. */
async function elapsed(untilMs: number, meanwhile: () => Promise<void>): Promise<void> {
  while (performance.now() < untilMs) await meanwhile();
}

for (const [name, open] of [
  ["over HTTP/1.1", over1],
  ["over HTTP/2", over2],
] as const) {
  describe(name, () => {
    test("bytes that ride with the handshake wait for the plugins, and come first", async () => {
      await using lane = await lanes.lane(switched, "waiting");
      using caller = await open(lane, { early: "first" });
      const service = await lane.origin.connection();
      caller.send("second");
      await service.until("both", () => tunnelled(service) === "firstsecond");
    });

    test("a caller that has ended is heard to its end, and hears the service's", async () => {
      await using lane = await lanes.lane(switched);
      using caller = await open(lane);
      const service = await lane.origin.connection();
      caller.send("goodbye");
      caller.end();
      await service.until("the caller's end", () => service.ended);
      assert.equal(tunnelled(service), "goodbye");
      service.send("so long");
      service.end();
      await caller.until("the service's end", () => caller.ended);
      assert.equal(caller.received, "so long");
      await service.until("the end of its connection", () => service.closed);
      assert.equal(service.error, null);
      assert.equal((await logged(lane))["end"], "complete");
    });

    test("a caller that ends before the tunnel stands is heard to its end", async () => {
      let answer = (): void => {};
      await using lane = await lanes.lane(async (connection) => {
        await connection.head();
        await new Promise<void>((resolve) => (answer = resolve));
        connection.send(switching);
      });
      using caller = await open(lane, { early: "all", status: 0 });
      const service = await lane.origin.connection();
      await service.until("the handshake", () => service.text.includes("\r\n\r\n"));
      caller.end();
      // a whole exchange later the end has been read
      await lane.gateway.ask("/livez");
      answer();
      await service.until("the caller's end", () => service.ended);
      assert.equal(tunnelled(service), "all");
      service.end();
    });

    test("a service that has ended hears the caller's last bytes", async () => {
      await using lane = await lanes.lane(switched);
      using caller = await open(lane);
      const service = await lane.origin.connection();
      service.send("done");
      service.end();
      await caller.until("the service's end", () => caller.ended);
      assert.equal(caller.received, "done");
      caller.send("noted");
      caller.end();
      await service.until("the caller's end", () => service.closed);
      assert.equal(tunnelled(service), "noted");
    });

    test("a caller's abort is an abort at the service", async () => {
      await using lane = await lanes.lane(switched);
      using caller = await open(lane);
      const service = await lane.origin.connection();
      caller.abort();
      await service.until("the cut", () => service.closed);
      assert.equal(service.error?.code, "ECONNRESET");
      const line = await logged(lane);
      assert.deepEqual([line["status"], line["end"]], [101, "client-aborted"]);
    });

    test("a service's abort is an abort at the caller", async () => {
      await using lane = await lanes.lane(switched);
      using caller = await open(lane);
      (await lane.origin.connection()).reset();
      await caller.until("the cut", () => caller.aborted);
      assert.equal(caller.ended, false);
      const line = await logged(lane);
      assert.deepEqual([line["status"], line["end"]], [101, "upstream-aborted"]);
    });

    test("a silent one is cut on both sides after idleTimeout, and logged with its bytes", async () => {
      await using lane = await lanes.lane(switched, "idle");
      using caller = await open(lane, { early: "12345" });
      const service = await lane.origin.connection();
      await service.until("the bytes", () => tunnelled(service) === "12345");
      service.send("123");
      await caller.until("the cut", () => caller.aborted);
      await service.until("the cut", () => service.closed);
      assert.equal(service.error?.code, "ECONNRESET");
      const line = await logged(lane);
      assert.deepEqual(
        [line["status"], line["code"], line["requestBytes"], line["responseBytes"]],
        [101, "deadline-exceeded", 5, 3],
      );
      assert.match(String(line["detail"]), /idleTimeout/);
    });

    test("bytes in one direction keep it from being silent", async () => {
      await using lane = await lanes.lane(switched, "idle");
      using caller = await open(lane);
      const service = await lane.origin.connection();
      let sent = 0;
      await elapsed(performance.now() + 2 * limitMs, async () => {
        service.send("x");
        sent++;
        await caller.until("the byte", () => caller.received.length === sent || caller.aborted);
        assert.equal(caller.aborted, false);
      });
    });

    test("its whole life is bounded by totalTimeout, busy or not", async () => {
      await using lane = await lanes.lane(switched, "total");
      using caller = await open(lane);
      const service = await lane.origin.connection();
      let sent = 0;
      while (!caller.aborted) {
        service.send("x");
        sent++;
        await caller.until("a byte, or the cut", () => {
          return caller.aborted || caller.received.length === sent;
        });
      }
      assert.ok(sent > 1);
      assert.match(String((await logged(lane))["detail"]), /totalTimeout/);
    });

    test("a service that does not answer is given up after timeout, and its late answer is nobody's", async () => {
      let answer = (): void => {};
      await using lane = await lanes.lane(async (connection) => {
        const head = await connection.head();
        if (!/upgrade/i.test(head!)) return connection.send(ok("plain"));
        await new Promise<void>((resolve) => (answer = resolve));
        connection.send(`${switching}late`);
      }, "late");
      using caller = await open(lane, { status: 504 });
      const before = caller.received;
      const service = await lane.origin.connection();
      answer();
      await service.until("the end of the try", () => service.closed || service.ended);
      assert.equal(caller.received, before);
      const line = await logged(lane);
      assert.deepEqual([line["status"], line["code"]], [504, "deadline-exceeded"]);
    });

    test("it is counted while it is open and when it ends", async () => {
      await using lane = await lanes.lane(switched);
      const { gateway } = lane;
      const route = lane.host.replace(".test", "");
      const counts = async () => [
        await gateway.metric("weft_active_requests"),
        await gateway.metric("weft_connections", { side: "downstream" }),
        await gateway.metric("weft_connections", { side: "upstream" }),
      ];
      await eventually("quiet", async () => (await counts()).every((count) => count === 0));
      {
        using caller = await open(lane, { early: "1234567" });
        const service = await lane.origin.connection();
        await service.until("the bytes", () => tunnelled(service) === "1234567");
        assert.deepEqual(await counts(), [1, 1, 1]);
        caller.end();
        service.end();
        await service.until("the end", () => service.closed);
      }
      await eventually("quiet", async () => (await counts()).every((count) => count === 0));
      assert.equal(await gateway.metric("weft_requests_total", { route, status: "101" }), 1);
      assert.equal(await gateway.metric("weft_request_bytes_total", { route }), 7);
      assert.equal(await gateway.metric("weft_attempts_total", { service: route }), 1);
    });
  });
}

test("an Upgrade with a body is no tunnel: the request goes on without it", async () => {
  await using lane = await lanes.lane(async (connection) => {
    await connection.request();
    connection.send(ok("plain"));
  });
  using client = await lane.connect();
  await client.send(lane.head("GET /ws", ...asking, "Content-Length: 5") + "hello");
  assert.equal((await client.response()).status, 200);
  assert.doesNotMatch(lane.origin.text, /upgrade/i);
  assert.match(lane.origin.text, /hello$/);
});

test("a slow reader holds its sender back, and loses nothing", async () => {
  const total = 24 * 1024 * 1024;
  let sent = 0;
  await using lane = await lanes.lane(async (connection) => {
    await switched(connection);
    const chunk = Buffer.alloc(64 * 1024, "x");
    const { socket } = connection;
    while (sent < total && !connection.closed) {
      sent += chunk.length;
      if (!socket.write(chunk))
        await within("room", new Promise((room) => socket.once("drain", room)));
    }
    socket.end();
  });
  using client = await lane.connect();
  client.socket.pause();
  client.socket.write(lane.head("GET /ws", ...asking));
  await lane.origin.connection();
  // nobody reads: what fits on the way is sent, and no more
  let last = -1;
  await eventually("the sender to stand still", async () => {
    const before = last;
    last = sent;
    for (let i = 0; i < 20; i++) await lane.gateway.ask("/livez");
    return sent > 0 && sent === last && before === last;
  });
  assert.ok(sent < total, `${sent} bytes were taken`);
  client.socket.resume();
  await client.until("everything", () => client.text.length >= total + switching.length - 20);
  await client.untilEnded();
  assert.ok(client.text.endsWith("x".repeat(1024)));
});
