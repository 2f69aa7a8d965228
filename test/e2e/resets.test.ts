/** Connections cut at every byte, on either side: nothing throws, nothing leaks, the next caller is served. */

import assert from "node:assert/strict";
import fs from "node:fs";
import { after, before, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import { eventually } from "../support/eventually.ts";
import { Lanes } from "../support/lanes.ts";
import type { Lane } from "../support/lanes.ts";
import { answering, ok } from "../support/origin.ts";

let lanes: Lanes;
before(async () => {
  lanes = await Lanes.start({
    kinds: { default: { count: 12, policy: "{ retry: { attempts: 0 } }" }, steady: { count: 1 } },
    more: "plugins: [request-id]",
  });
});
after(async () => {
  assert.equal(await lanes.stop(), 0, "it drains and ends in order after all this");
});

/** Descriptors that the process has open. */
function descriptors(): number {
  return fs.readdirSync(`/proc/${lanes.gateway.child.pid}/fd`).length;
}

/** Every gauge is back to nothing, and the process serves. */
async function isUnharmed(lane: Lane): Promise<void> {
  const { gateway } = lanes;
  await eventually(
    "no request to be active",
    async () => (await gateway.metric("weft_active_requests")) === 0,
  );
  await eventually(
    "no caller to be connected",
    async () => (await gateway.metric("weft_connections", { side: "downstream" })) === 0,
  );
  lane.origin.script = answering(() => ok("fine"));
  using client = await lane.connect();
  await client.send(lane.head("GET /after"));
  assert.equal((await client.response()).body, "fine");
  assert.equal(gateway.child.exitCode, null);
  assert.doesNotMatch(
    gateway.stdout + gateway.stderr,
    /internal error|uncaught|TypeError|ReferenceError/i,
  );
}

const upload = (lane: Lane) =>
  lane.head("POST /x", "Transfer-Encoding: chunked", "X-A: b") +
  "5;e=1\r\nhello\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n";

test("a caller that resets after every possible number of bytes", async () => {
  await using lane = await lanes.lane(answering(() => ok("x")));
  const length = upload(lane).length;
  const before = descriptors();
  for (let cut = 1; cut <= length; cut++) {
    const client = await lane.connect();
    await client.send(upload(lane).slice(0, cut));
    await turn();
    if (cut % 2 === 0) client.reset();
    else client.destroy();
  }
  await isUnharmed(lane);
  await eventually("descriptors to be given back", () => descriptors() <= before + 4);
});

test("an endpoint that resets after every possible number of bytes of its answer", async () => {
  const text =
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n";
  let cut = 0;
  await using lane = await lanes.lane(async (connection) => {
    await connection.request();
    connection.send(text.slice(0, cut));
    await turn();
    if (cut % 2 === 0) connection.reset();
    else connection.socket.destroy();
  });
  for (cut = 0; cut < text.length; cut++) {
    using client = await lane.connect();
    await client.send(lane.head("GET /", "Connection: close"));
    const got = await client.untilEnded();
    assert.ok(
      !got.includes("0\r\nX-T") && !got.endsWith("0\r\n\r\n"),
      `cut at ${cut}: a cut answer looks whole: ${got}`,
    );
    if (got !== "") assert.match(got, /^HTTP\/1\.1 (200|502) /);
  }
  await isUnharmed(lane);
});

test("an endpoint that resets while the body of the request is still coming", async () => {
  let cut = 0;
  await using lane = await lanes.lane(async (connection) => {
    await connection.until(
      "the first bytes",
      () => connection.text.length > cut || connection.ended || connection.closed,
    );
    connection.reset();
  });
  for (cut = 0; cut < 300; cut += 13) {
    using client = await lane.connect();
    await client.send(upload(lane).slice(0, -5));
    await client.until(
      "an answer or the end",
      () => client.text !== "" || client.closed || client.ended,
    );
    assert.match(client.text, /^HTTP\/1\.1 502 /);
  }
  await isUnharmed(lane);
});

test("a WebSocket tunnel cut at every stage, from either side", async () => {
  const asking =
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
  const switching =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x02hi";
  let cut = 0;
  let cutter: "caller" | "endpoint" = "caller";
  await using lane = await lanes.lane(async (connection) => {
    await connection.head();
    connection.send(switching.slice(0, cut));
    await turn();
    if (cutter === "endpoint") connection.reset();
  });
  for (cut = 0; cut <= switching.length; cut += 7) {
    for (cutter of ["caller", "endpoint"] as const) {
      const client = await lane.connect();
      await client.send(lane.head("GET /ws", asking) + "\x81\x03abc");
      await lane.origin.until("the request", () => lane.origin.connections.length > 0);
      for (let i = 0; i < 3; i++) await turn();
      if (cutter === "caller") client.reset();
      else {
        await client.until(
          "the end",
          () => client.ended || client.closed || client.text.includes("HTTP/1.1 502"),
        );
        client.destroy();
      }
    }
  }
  await isUnharmed(lane);
});

test("garbage of every kind, whole and cut, ends in 400 or nothing", async () => {
  await using lane = await lanes.lane(answering(() => ok("x")));
  const piece = fc.oneof(
    fc.constantFrom(
      "GET ",
      "/ ",
      "HTTP/1.1\r\n",
      "\r\n",
      "Host: default-0.test\r\n",
      "Content-Length: 5\r\n",
      "\0",
      "\r",
      "\n",
      ": ",
      "0\r\n\r\n",
      "ffffffffff\r\n",
      "Transfer-Encoding: chunked\r\n",
      "Connection: upgrade\r\n",
      "Upgrade: websocket\r\n",
      "Expect: 100-continue\r\n",
    ),
    fc.string({ maxLength: 20, unit: "binary-ascii" }),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(piece, { minLength: 1, maxLength: 12 }),
      fc.boolean(),
      async (pieces, cut) => {
        using client = await lane.connect();
        await client.send(pieces.join(""));
        if (cut) client.reset();
        else {
          client.end();
          const got = await client.untilEnded();
          assert.match(got, /^(HTTP\/1\.1 [1-5]\d\d |$)/);
        }
      },
    ),
    { numRuns: 300 },
  );
  await isUnharmed(lane);
});

test("other callers are unharmed meanwhile: a steady caller saw no error", async () => {
  await using lane = await lanes.lane(
    answering(() => ok("steady")),
    "steady",
  );
  await using noisy = await lanes.lane(async (connection) => {
    await connection.has("GET");
    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab");
    connection.reset();
  });
  using steady = await lane.connect();
  for (let i = 0; i < 100; i++) {
    const client = await noisy.connect();
    await client.send(noisy.head("GET /"));
    if (i % 3 === 0) client.reset();
    await steady.send(lane.head(`GET /${i}`));
    assert.equal((await steady.response()).body, "steady");
    client.destroy();
  }
  assert.equal(lane.origin.connections.length, 1);
});
