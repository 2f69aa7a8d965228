/** What costs us more than it costs the caller has a limit: floods, bombs, windows that stay shut, heads without end. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { eventually } from "../../support/eventually.ts";
import type { OriginConnection } from "../../support/origin.ts";
import {
  ErrorCode,
  Flag,
  FrameType,
  block,
  frame,
  integer,
  uint32,
  type FrameClient,
} from "./frame-client.ts";
import { Serving } from "./serving.ts";

const { endStream, endHeaders } = Flag;
const { headers, data, settings, ping, continuation, windowUpdate, rstStream } = FrameType;
const { enhanceYourCalm, cancel, flowControlError, streamClosed, settingsTimeout } = ErrorCode;

/** Answers every head at once with much, and looks at no body. */
async function script(connection: OriginConnection): Promise<void> {
  for (;;) {
    const head = await connection.head();
    if (head === null) return;
    if (head.startsWith("GET /never")) continue;
    if (head.startsWith("POST /fast")) {
      await connection.has("0\r\n\r\n");
      connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
      return;
    }
    if (head.startsWith("POST")) {
      // takes no bytes at all
      connection.socket.pause();
      return;
    }
    connection.send(`HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n${"x".repeat(100_000)}`);
  }
}

let serving: Serving;
before(async () => {
  serving = await Serving.start({
    script,
    limits: "{ headerTimeout: 1s, idleTimeout: 2s, headerBytes: 16KiB }",
    // larger than the table of HPACK, so that every answer carries it in full
    routes: `  - { name: big, match: { path: /big }, respond: { headers: { x-big: "${"x".repeat(5000)}" } } }`,
  });
});
after(() => serving.stop());

const repeat = (times: number, bytes: Uint8Array): Buffer =>
  Buffer.concat(Array.from({ length: times }, () => bytes));

for (const [name, bytes] of [
  ["PING", frame(ping, 0, 0, Buffer.alloc(8))],
  ["PING acknowledgement", frame(ping, Flag.ack, 0, Buffer.alloc(8))],
  ["SETTINGS", frame(settings, 0, 0)],
  ["GOAWAY", frame(FrameType.goaway, 0, 0, Buffer.alloc(8))],
  ["PRIORITY_UPDATE", frame(FrameType.priorityUpdate, 0, 0, uint32(1))],
  ["PRIORITY", frame(FrameType.priority, 0, 9, Buffer.from([0, 0, 0, 0, 16]))],
  ["WINDOW_UPDATE", frame(windowUpdate, 0, 0, uint32(1))],
  ["unknown", frame(0xfa, 0, 0, Buffer.alloc(4))],
] as const) {
  test(`CVE-2019-9512 and its kind: a flood of ${name} frames is ENHANCE_YOUR_CALM`, async () => {
    using client = await serving.connect();
    client.send(repeat(3000, bytes));
    await client.connectionError(enhanceYourCalm);
  });
}

test("a flood of RST_STREAM frames for a stream that is over is ENHANCE_YOUR_CALM", async () => {
  using client = await serving.connect();
  client.send(client.open(1), repeat(3000, frame(rstStream, 0, 1, uint32(cancel))));
  await client.connectionError(enhanceYourCalm);
});

test("a flood of DATA frames of nothing but padding is ENHANCE_YOUR_CALM", async () => {
  using client = await serving.connect();
  client.send(client.open(1), repeat(3000, frame(data, Flag.padded, 1, Buffer.from([3, 0, 0, 0]))));
  await client.connectionError(enhanceYourCalm);
});

test("CVE-2019-9511: a window that is opened by single bytes is ENHANCE_YOUR_CALM", async () => {
  using client = await serving.connect({ settings: [[4, 0]] });
  client.send(client.get(1));
  assert.equal(await client.status(1), 200);
  client.send(repeat(3000, frame(windowUpdate, 0, 1, uint32(1))));
  await client.connectionError(enhanceYourCalm);
});

test("a window that is opened by small pieces of a sensible size is none", async () => {
  using client = await serving.connect({ settings: [[4, 0]] });
  client.grant(0, 1_000_000);
  for (const id of [1, 3, 5, 7, 9]) {
    client.send(client.get(id));
    assert.equal(await client.status(id), 200);
    client.send(repeat(334, frame(windowUpdate, 0, id, uint32(300))));
    assert.equal((await client.body(id)).length, 100_000);
  }
});

test("CVE-2019-9518: a flood of empty DATA frames is ENHANCE_YOUR_CALM", async () => {
  using client = await serving.connect();
  client.send(client.open(1), repeat(3000, frame(data, 0, 1)));
  await client.connectionError(enhanceYourCalm);
});

test("CVE-2023-44487: rapid reset is ENHANCE_YOUR_CALM, and the service sees few of the requests", async () => {
  serving.origin.forget();
  using client = await serving.connect();
  const path = client.request().toString("latin1").replace("\x01/", "\x06/never");
  for (let i = 0; i < 5000; i++) {
    const id = i * 2 + 1;
    client.send(
      frame(headers, endStream | endHeaders, id, Buffer.from(path, "latin1")),
      frame(rstStream, 0, id, uint32(cancel)),
    );
  }
  await client.connectionError(enhanceYourCalm);
  assert.equal(await serving.gateway.metric("weft_active_requests"), 0);
  assert.ok(serving.origin.connections.length <= 300, String(serving.origin.connections.length));
});

test("CVE-2025-8671: resets that the caller makes us send count the same", async () => {
  using client = await serving.connect();
  const parts: Buffer[] = [];
  for (let i = 0; i < 1000; i++) {
    const id = i * 2 + 1;
    parts.push(client.open(id), frame(windowUpdate, 0, id, uint32(0)));
  }
  client.send(...parts);
  await client.connectionError(enhanceYourCalm);
});

test("CVE-2024-27316: a block without end is ENHANCE_YOUR_CALM, by its size or by its frames", async () => {
  for (const size of [8000, 1, 0]) {
    using client = await serving.connect();
    client.send(frame(headers, endStream, 1, client.request()));
    client.send(repeat(400, frame(continuation, 0, 1, Buffer.alloc(size, 0x82))));
    await client.connectionError(enhanceYourCalm);
  }
});

test("a block that gets no further is ENHANCE_YOUR_CALM after headerTimeout", async () => {
  using client = await serving.connect();
  client.send(frame(headers, endStream, 1, client.request()));
  await client.connectionError(enhanceYourCalm);
});

test("an HPACK bomb counts decoded: 431, and the connection goes on", async () => {
  using client = await serving.connect();
  const bomb = Buffer.concat([
    client.request(),
    Buffer.from([0x40, 1, 0x61]),
    integer(4000, 127, 0),
    Buffer.alloc(4000, 0x62),
    Buffer.alloc(10_000, 0xbe),
  ]);
  client.send(frame(headers, endStream | endHeaders, 1, bomb));
  assert.equal(await client.status(1), 431);
  await client.ping();
});

test("a caller that says nothing is closed after headerTimeout", async () => {
  using silent = await serving.connect({ settings: null });
  await silent.untilEnded();
  using half = await serving.connect({ settings: null });
  half.send(Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
  await half.connectionError(settingsTimeout);
});

test("an idle connection gets GOAWAY and is closed after idleTimeout", async () => {
  using client = await serving.connect();
  client.send(client.get(1));
  await client.next("the answer", (one) => one.streamId === 1);
  client.send(frame(rstStream, 0, 1, uint32(cancel)));
  await client.connectionError(ErrorCode.noError);
});

test("a window that stays shut ends its stream after idleTimeout, not the connection", async () => {
  using client = await serving.connect({ settings: [[4, 10]] });
  client.send(client.get(1));
  assert.equal(await client.status(1), 200);
  await client.onlyStreamError(1, cancel, ErrorCode.internalError);
  assert.equal(await serving.gateway.metric("weft_active_requests"), 0);
});

test("more data than was granted is FLOW_CONTROL_ERROR: bytes that nobody takes are not granted again", async () => {
  using client = await serving.connect();
  client.send(client.open(1));
  const chunk = frame(data, 0, 1, Buffer.alloc(16_384));
  const isError = (): boolean =>
    client.frames.some((one) => one.type === rstStream || one.type === FrameType.goaway);
  for (let i = 0; i < 4000 && !isError() && !client.ended; i++)
    await new Promise((resolve) => client.socket.write(chunk, resolve));
  await client.streamError(1, flowControlError);
});

test("while the service takes nothing, a caller that keeps to its windows comes to a halt on that stream, and others go on", async () => {
  using client = await serving.connect();
  client.send(client.open(1));
  let left = 65_535;
  let leftOfAll = 65_535;
  let sent = 0;
  let at = 0;
  const take = (): void => {
    for (; at < client.frames.length; at++) {
      const one = client.frames[at]!;
      if (one.type !== windowUpdate) continue;
      if (one.streamId === 0) leftOfAll += one.payload.readUInt32BE(0);
      else left += one.payload.readUInt32BE(0);
    }
  };
  for (;;) {
    take();
    const n = Math.min(left, leftOfAll, 16_384);
    if (n <= 0) {
      const before = client.frames.length;
      await client.ping();
      take();
      if (Math.min(left, leftOfAll) <= 0 && client.frames.length <= before + 1) break;
      continue;
    }
    client.send(frame(data, 0, 1, Buffer.alloc(n)));
    left -= n;
    leftOfAll -= n;
    sent += n;
    assert.ok(sent < 64 * 1024 * 1024);
  }
  assert.ok(sent >= 65_535);
  assert.ok(leftOfAll > 0);
  const path = client.post().toString("latin1").replace("\x01/", "\x05/fast");
  client.send(
    frame(headers, endHeaders, 3, Buffer.from(path, "latin1")),
    frame(data, endStream, 3, Buffer.alloc(Math.min(leftOfAll, 16_000))),
  );
  assert.equal(await client.status(3), 200);
});

test("CVE-2019-9517: a caller that reads no answers is not read either: heads, which no window holds, do not pile up", async () => {
  using client = await serving.connect();
  client.socket.pause();
  const head = block(
    [":method", "HEAD"],
    [":scheme", "http"],
    [":path", "/big"],
    [":authority", client.authority],
  );
  const before = await serving.gateway.metric("weft_requests_total", { route: "big" });
  const wanted = 20_000;
  for (let i = 0; i < wanted; i++)
    client.socket.write(frame(headers, endStream | endHeaders, i * 2 + 1, head));
  const closed = once(client.socket, "close");
  client.socket.on("error", () => {});
  // idleTimeout ends it: what was answered until then lies in the buffers of the system, and 1 MiB in ours
  await eventually(
    "the end of the connection",
    async () => (await serving.gateway.metric("weft_connections", { side: "downstream" })) === 0,
  );
  client.socket.destroy();
  await closed;
  const answered = (await serving.gateway.metric("weft_requests_total", { route: "big" })) - before;
  assert.ok(answered > 100 && answered < wanted / 2, String(answered));
});

test("a stream reset by the caller gives the request up at the service", async () => {
  serving.origin.forget();
  using client = await serving.connect();
  const path = client.request().toString("latin1").replace("\x01/", "\x06/never");
  client.send(frame(headers, endStream | endHeaders, 1, Buffer.from(path, "latin1")));
  const connection = await serving.origin.connection(0);
  await connection.has("/never");
  client.send(frame(rstStream, 0, 1, uint32(cancel)));
  await connection.untilEnded();
  await client.ping();
});

test("frames of a stream that was refused are ignored while they were under way, then closed", async () => {
  using client = await serving.connect();
  client.send(
    frame(headers, endHeaders, 1, block([":method", "GET"])),
    frame(data, 0, 1, Buffer.alloc(10)),
    frame(headers, endStream | endHeaders, 1, block(["x-sum", "1"])),
  );
  await client.onlyStreamError(1, ErrorCode.protocolError);
  assert.equal(client.frames.filter((one) => one.type === rstStream).length, 1);
});

test("DATA long after its stream has ended is an error of that stream alone", async () => {
  using client: FrameClient = await serving.connect();
  client.grant(0, 1_000_000);
  client.send(client.get(1));
  client.grant(1, 1_000_000);
  await client.body(1);
  client.send(frame(data, endStream, 1, Buffer.alloc(4)));
  await client.onlyStreamError(1, streamClosed);
});
