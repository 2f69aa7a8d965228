/** WebSocket upgrades: a tunnel after the 101, with every byte that rides along, and no tunnel otherwise. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { eventually } from "../support/eventually.ts";
import { Lanes } from "../support/lanes.ts";
import type { Lane } from "../support/lanes.ts";
import { ok } from "../support/origin.ts";
import type { OriginConnection } from "../support/origin.ts";

let lanes: Lanes;
before(async () => {
  lanes = await Lanes.start({ kinds: { default: { count: 30 } } });
});
after(() => lanes.stop());

const asking = [
  "Connection: Upgrade",
  "Upgrade: websocket",
  "Sec-WebSocket-Version: 13",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];
const switching =
  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/** An origin that echoes after the switch. */
async function echoing(connection: OriginConnection): Promise<void> {
  await connection.head();
  const from = connection.text.indexOf("\r\n\r\n") + 4;
  connection.send(switching);
  let seen = from;
  while (!connection.closed && !connection.ended) {
    await connection.until(
      "more bytes",
      () => connection.text.length > seen || connection.closed || connection.ended,
    );
    if (connection.text.length > seen) {
      const text = connection.text.slice(seen);
      seen = connection.text.length;
      connection.send(text);
    }
  }
  connection.end();
}

for (const pieces of ["whole", "bytes"] as const) {
  test(`bytes go both ways after the 101, sent ${pieces}`, async () => {
    await using lane = await lanes.lane(echoing);
    using client = await lane.connect();
    await client.send(lane.head("GET /ws", ...asking), pieces);
    const answer = await client.response();
    assert.equal(answer.status, 101);
    assert.equal(answer.header("upgrade")?.toLowerCase(), "websocket");
    assert.match(answer.header("connection")!, /upgrade/i);
    assert.equal(answer.header("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    await client.send("\x81\x05hello", pieces);
    await client.has("\x81\x05hello");
    assert.match(lane.origin.text, /sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n/i);
    assert.match(lane.origin.text, /upgrade: websocket\r\n/i);
  });
}

test("bytes that ride with the request reach the service", async () => {
  await using lane = await lanes.lane(echoing);
  using client = await lane.connect();
  await client.send(lane.head("GET /ws", ...asking) + "\x81\x03abc");
  assert.equal((await client.response()).status, 101);
  await client.has("\x81\x03abc");
});

test("bytes that ride with the 101 reach the caller", async () => {
  await using lane = await lanes.lane(async (connection) => {
    await connection.head();
    connection.send(`${switching}\x81\x05first`);
    await connection.untilEnded();
    connection.end();
  });
  using client = await lane.connect();
  await client.send(lane.head("GET /ws", ...asking));
  assert.equal((await client.response()).status, 101);
  await client.has("\x81\x05first");
});

for (const [name, body] of [
  ["by length", "Content-Length: 2\r\n\r\nno"],
  ["in chunks", "Transfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"],
] as const) {
  test(`a service that does not switch: its answer ${name} is passed on`, async () => {
    await using lane = await lanes.lane(async (connection) => {
      await connection.request();
      connection.send(`HTTP/1.1 426 Upgrade Required\r\n${body}`);
    });
    using client = await lane.connect();
    await client.send(lane.head("GET /ws", ...asking));
    const answer = await client.response();
    assert.equal(answer.status, 426);
    assert.equal(answer.body, "no");
    assert.equal(answer.header("connection"), "close");
    await client.untilEnded();
  });
}

test("a service that refuses the connection: 502", async () => {
  const lane = lanes.closedLane();
  using client = await lanes.gateway.connect();
  await client.send(`GET /ws HTTP/1.1\r\nHost: ${lane.host}\r\n${asking.join("\r\n")}\r\n\r\n`);
  const answer = await client.response();
  assert.equal(answer.status, 502);
  assert.equal(answer.code, "connect-refused");
});

test("an Upgrade to h2c is not passed on, and not tunnelled", async () => {
  await using lane = await lanes.lane();
  using client = await lane.connect();
  await client.send(
    lane.head(
      "GET /",
      "Connection: Upgrade, HTTP2-Settings",
      "Upgrade: h2c",
      "HTTP2-Settings: AAMAAABkAAQAAP__",
    ),
  );
  assert.equal((await client.response()).status, 200);
  assert.doesNotMatch(lane.origin.text, /h2c|http2-settings/i);
});

async function tunnelled(lane: Lane) {
  const client = await lane.connect();
  await client.send(lane.head("GET /ws", ...asking));
  assert.equal((await client.response()).status, 101);
  return client;
}

async function open(connection: OriginConnection): Promise<void> {
  await connection.head();
  connection.send(switching);
}

test("the caller's reset ends the service's side", async () => {
  await using lane = await lanes.lane(open);
  const client = await tunnelled(lane);
  client.reset();
  await lane.origin.connections[0]!.untilEnded();
});

test("the service's reset ends the caller's side", async () => {
  await using lane = await lanes.lane(open);
  using client = await tunnelled(lane);
  lane.origin.connections[0]!.reset();
  await client.untilEnded();
});

test("the service's end is passed on as an end", async () => {
  await using lane = await lanes.lane(open);
  using client = await tunnelled(lane);
  lane.origin.connections[0]!.send("bye");
  lane.origin.connections[0]!.end();
  await client.untilEnded();
  assert.ok(client.text.endsWith("bye"));
});

test("a tunnel's connection is never used for another request", async () => {
  await using lane = await lanes.lane(async (connection) => {
    const head = await connection.head();
    if (/upgrade/i.test(head!)) {
      connection.send(switching);
      await connection.untilEnded();
      connection.end();
    } else connection.send(ok("plain"));
  });
  const client = await tunnelled(lane);
  using other = await lane.connect();
  await other.send(lane.head("GET /"));
  assert.equal((await other.response()).body, "plain");
  client.destroy();
  await eventually("both connections", () => lane.origin.connections.length === 2);
  await lane.origin.connections[0]!.untilEnded();
});

test("a megabyte through the tunnel arrives unharmed", async () => {
  await using lane = await lanes.lane(echoing);
  using client = await tunnelled(lane);
  const from = client.text.length;
  const bytes = Buffer.from(
    Array.from({ length: 1 << 20 }, (_, i) => (i * 31 + (i >> 9)) & 255),
  ).toString("latin1");
  await client.send(bytes);
  await client.bytes(from + bytes.length);
  assert.ok(client.text.slice(from) === bytes);
});
