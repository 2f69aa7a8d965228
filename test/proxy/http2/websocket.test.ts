/** WebSocket over HTTP/2: extended CONNECT (RFC 8441) to an Upgrade of HTTP/1.1, byte for byte. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { OriginConnection } from "../../support/origin.ts";
import {
  ErrorCode,
  Flag,
  FrameType,
  Setting,
  block,
  frame,
  type FrameClient,
} from "./frame-client.ts";
import { Serving } from "./serving.ts";

const { headers, data } = FrameType;
const switching =
  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n";

/** Echoes after the switch; `/refused` gets 403; `/first` speaks first. */
async function echoing(connection: OriginConnection): Promise<void> {
  const head = (await connection.head())!;
  if (head.startsWith("GET /refused")) {
    connection.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nnope");
    return;
  }
  connection.send(head.startsWith("GET /first") ? `${switching}hello` : switching);
  let seen = connection.text.indexOf("\r\n\r\n") + 4;
  while (!connection.closed && !connection.ended) {
    await connection.until(
      "more",
      () => connection.text.length > seen || connection.closed || connection.ended,
    );
    const text = connection.text.slice(seen);
    seen += text.length;
    if (text !== "") connection.send(text);
  }
  connection.end();
}

let serving: Serving;
before(async () => {
  serving = await Serving.start({ script: echoing });
});
after(() => serving.stop());

function connecting(
  client: FrameClient,
  streamId: number,
  path = "/ws",
  protocol = "websocket",
): Buffer {
  return frame(
    headers,
    Flag.endHeaders,
    streamId,
    block(
      [":method", "CONNECT"],
      [":protocol", protocol],
      [":scheme", "http"],
      [":path", path],
      [":authority", client.authority],
      ["sec-websocket-version", "13"],
      ["sec-websocket-protocol", "chat"],
    ),
  );
}

const received = (client: FrameClient, streamId: number): string =>
  client.frames
    .filter((one) => one.type === data && one.streamId === streamId)
    .map((one) => one.payload.toString("latin1"))
    .join("");

test("SETTINGS_ENABLE_CONNECT_PROTOCOL is announced", async () => {
  using client = await serving.connect();
  const first = await client.next("SETTINGS", (one) => one.type === FrameType.settings);
  const ids = Array.from({ length: first.payload.length / 6 }, (_, i) => [
    first.payload.readUInt16BE(i * 6),
    first.payload.readUInt32BE(i * 6 + 2),
  ]);
  assert.ok(ids.some(([id, value]) => id === Setting.enableConnectProtocol && value === 1));
});

for (const secure of [false, true]) {
  test(`bytes go both ways beside other streams, ${secure ? "over TLS" : "in the clear"}`, async () => {
    serving.origin.forget();
    using client = await serving.connect({ secure });
    client.send(connecting(client, 1));
    const head = await client.head(1);
    assert.equal(head.get(":status"), "200");
    assert.equal(head.get("sec-websocket-protocol"), "chat");
    for (const name of ["upgrade", "connection", "sec-websocket-accept"])
      assert.equal(head.get(name), undefined);
    const { text } = serving.origin.connections[0]!;
    assert.match(text, /^GET \/ws HTTP\/1\.1\r\n/);
    assert.match(text, /\r\nupgrade: websocket\r\n/i);
    assert.match(text, /\r\nsec-websocket-key: [A-Za-z0-9+/]{22}==\r\n/i);
    client.send(frame(data, 0, 1, Buffer.from("\x81\x05hello", "latin1")));
    await client.until("the echo", () => received(client, 1) === "\x81\x05hello");
    client.send(connecting(client, 3), frame(data, 0, 3, Buffer.from("early")));
    await client.until("the echo of early bytes", () => received(client, 3) === "early");
    client.send(frame(data, Flag.endStream, 3, Buffer.from("last")));
    await client.until("the rest", () => received(client, 3) === "earlylast");
    await client.body(3);
  });
}

test("bytes that ride with the 101 come after the head", async () => {
  using client = await serving.connect();
  client.send(connecting(client, 1, "/first"));
  await client.until("the greeting", () => received(client, 1) === "hello");
});

test("large messages keep to the windows both ways", async () => {
  using client = await serving.connect({ settings: [[4, 1000]] });
  client.send(connecting(client, 1));
  await client.head(1);
  client.send(
    frame(data, 0, 1, Buffer.alloc(16_000, 0x61)),
    frame(data, 0, 1, Buffer.alloc(16_000, 0x62)),
  );
  await client.until("the first window", () => received(client, 1).length === 1000);
  client.grant(1, 40_000);
  await client.until("everything", () => received(client, 1).length === 32_000);
});

test("a service that refuses is heard", async () => {
  using client = await serving.connect();
  client.send(connecting(client, 1, "/refused"));
  assert.equal(await client.status(1), 403);
});

test("a caller that resets the stream closes the tunnel at the service", async () => {
  serving.origin.forget();
  using client = await serving.connect();
  client.send(connecting(client, 1));
  await client.head(1);
  client.send(frame(FrameType.rstStream, 0, 1, Buffer.from([0, 0, 0, ErrorCode.cancel])));
  await serving.origin.connections[0]!.untilEnded();
  await client.ping();
});

test("a service that closes ends the stream", async () => {
  serving.origin.forget();
  using client = await serving.connect();
  client.send(connecting(client, 1));
  await client.head(1);
  serving.origin.connections[0]!.end();
  await client.next(
    "the end",
    (one) =>
      one.streamId === 1 &&
      (one.type === FrameType.rstStream ||
        (one.type === data && (one.flags & Flag.endStream) !== 0)),
  );
});

test("another protocol than websocket is not offered", async () => {
  using client = await serving.connect();
  client.send(connecting(client, 1, "/ws", "gopher"));
  assert.equal(await client.status(1), 501);
});
