/** The corners of RFC 9113, 9218 and 7541 that a caller can be wrong in, as raw frames; over TLS and in the clear. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, describe, test } from "node:test";
import tls from "node:tls";
import { HpackDecoder } from "../../../proxy/http2/hpack-decoder.ts";
import { badBlocks } from "./bad-blocks.ts";
import {
  ErrorCode,
  Flag,
  FrameType,
  Setting,
  block,
  clientPreface,
  frame,
  integer,
  uint32,
} from "./frame-client.ts";
import { onBothListeners, type Rule } from "./rules.ts";
import { Serving } from "./serving.ts";

const { protocolError, streamClosed, frameSizeError, compressionError, enhanceYourCalm } =
  ErrorCode;
const { endStream, endHeaders, padded, priority } = Flag;
const { headers, data, settings, ping, continuation, windowUpdate, rstStream, goaway } = FrameType;
const { priorityUpdate } = FrameType;
const PRIORITY = FrameType.priority;
const WHOLE = endStream | endHeaders;

const bytes = (length: number): Buffer => Buffer.alloc(length, 0x78);
const hex = (text: string): Buffer => Buffer.from(text.replaceAll(" ", ""), "hex");
const setting = (id: number, value: number): Buffer =>
  Buffer.concat([Buffer.from([id >> 8, id & 255]), uint32(value)]);

/** Frames whose size is wrong for their type (sections 4.2 and 6). */
const sizes: readonly Rule[] = (
  [
    ["4.2: a frame of an unknown type above SETTINGS_MAX_FRAME_SIZE", 0xfa, 0, 0, bytes(16_385)],
    ["4.2: SETTINGS above SETTINGS_MAX_FRAME_SIZE", settings, 0, 0, bytes(16_386)],
    ["4.2: HEADERS too short for their priority", headers, WHOLE | priority, 1, bytes(4)],
    [
      "4.2: HEADERS too short for the length of their padding",
      headers,
      WHOLE | padded,
      1,
      bytes(0),
    ],
    ["6.3: PRIORITY of six bytes on an idle stream", PRIORITY, 0, 1, bytes(6)],
    ["6.7: PING of nine bytes", ping, 0, 0, bytes(9)],
    ["6.8: GOAWAY of seven bytes", goaway, 0, 0, bytes(7)],
    ["6.9: WINDOW_UPDATE of five bytes", windowUpdate, 0, 0, bytes(5)],
    ["RFC 9218 7.1: PRIORITY_UPDATE of three bytes", priorityUpdate, 0, 0, bytes(3)],
  ] as const
).map(([name, type, flags, streamId, payload]) => [
  `${name} is a connection error FRAME_SIZE_ERROR`,
  async (c) => {
    c.send(frame(type, flags, streamId, payload));
    await c.connectionError(frameSizeError);
  },
]);

const rules: readonly Rule[] = [
  ...sizes,
  [
    "4.2: CONTINUATION above SETTINGS_MAX_FRAME_SIZE is a connection error FRAME_SIZE_ERROR",
    async (c) => {
      c.send(
        frame(headers, endStream, 1, c.request()),
        frame(continuation, endHeaders, 1, bytes(16_385)),
      );
      await c.connectionError(frameSizeError);
    },
  ],
  [
    "4.1: the reserved bit before a stream number is ignored",
    async (c) => {
      const sent = c.get(1);
      sent[5] = 0x80;
      c.send(sent);
      assert.equal(await c.status(1), 200);
    },
  ],
  [
    "5.1: a stream that was skipped is closed: DATA on it is STREAM_CLOSED",
    async (c) => {
      c.send(c.get(5));
      assert.equal(await c.status(5), 200);
      c.send(frame(data, 0, 3, bytes(1)));
      await c.onlyStreamError(3, streamClosed);
    },
  ],
  [
    "5.1: WINDOW_UPDATE and RST_STREAM on a stream that was skipped are ignored",
    async (c) => {
      c.send(c.get(5), frame(windowUpdate, 0, 3, uint32(1)), frame(rstStream, 0, 3, uint32(0)));
      assert.equal(await c.status(5), 200);
      await c.ping();
    },
  ],
  [
    "5.1: frames on a stream that was reset by us are ignored, and its block still counts for HPACK",
    async (c) => {
      const x = block([":method", "GET"]);
      c.send(
        frame(headers, endHeaders, 1, x),
        frame(data, 0, 1, bytes(10)),
        frame(windowUpdate, 0, 1, uint32(1)),
        frame(rstStream, 0, 1, uint32(8)),
        frame(headers, WHOLE, 1, hex("40 01 61 01 62")),
        frame(headers, WHOLE, 3, Buffer.concat([c.request(), hex("be")])),
      );
      assert.equal(await c.status(3), 200);
      const resets = c.frames.filter((one) => one.type === rstStream);
      assert.deepEqual(
        resets.map(({ streamId }) => streamId),
        [1],
      );
    },
  ],
  [
    "5.1.1: the highest stream number is served, and none below it afterwards",
    async (c) => {
      c.send(c.get(0x7fffffff));
      assert.equal(await c.status(0x7fffffff), 200);
      c.send(c.get(1));
      await c.connectionError(protocolError);
    },
  ],
  [
    "5.1.2: a stream that has ended makes room for another",
    async (c) => {
      const ids = Array.from({ length: 128 }, (_, i) => i * 2 + 1);
      c.send(...ids.map((id) => c.open(id)), frame(data, endStream, 1, bytes(1)));
      await c.body(1);
      c.send(c.get(257));
      assert.equal(await c.status(257), 200);
    },
  ],
  [
    "5.4.2: RST_STREAM is not answered by RST_STREAM",
    async (c) => {
      const reset = frame(rstStream, 0, 1, uint32(8));
      c.send(c.open(1), reset, reset, reset);
      await c.ping();
      assert.equal(c.frames.filter((one) => one.type === rstStream).length, 0);
    },
  ],
  [
    "6.1: padding is no part of a body that announced its length",
    async (c) => {
      const payload = Buffer.concat([Buffer.from([10]), Buffer.from("data"), bytes(10)]);
      c.send(c.open(1, ["content-length", "4"]), frame(data, endStream | padded, 1, payload));
      assert.equal((await c.body(1)).toString(), "data");
    },
  ],
  [
    "6.1: DATA of nothing but padding ends a stream",
    async (c) => {
      c.send(c.open(1), frame(data, endStream | padded, 1, Buffer.from([3, 0, 0, 0])));
      assert.equal(await c.status(1), 200);
    },
  ],
  [
    "6.2: HEADERS of nothing but padding are an empty head: a stream error PROTOCOL_ERROR",
    async (c) => {
      c.send(frame(headers, WHOLE | padded, 1, Buffer.from([3, 0, 0, 0])));
      await c.onlyStreamError(1, protocolError);
    },
  ],
  [
    "6.5: more settings in one frame than anybody has is ENHANCE_YOUR_CALM (CVE-2020-11080)",
    async (c) => {
      const many = Array.from({ length: 33 }, (_, i) => setting(4, 65_535 + i));
      c.send(frame(settings, 0, 0, Buffer.concat(many)));
      await c.connectionError(enhanceYourCalm);
    },
  ],
  [
    "6.5.2: SETTINGS_MAX_CONCURRENT_STREAMS of 0 speaks of pushes alone",
    async (c) => {
      c.send(frame(settings, 0, 0, setting(Setting.maxConcurrentStreams, 0)), c.get(1));
      assert.equal(await c.status(1), 200);
    },
  ],
  [
    "6.5.2: SETTINGS_MAX_HEADER_LIST_SIZE is advice",
    async (c) => {
      c.send(frame(settings, 0, 0, setting(Setting.maxHeaderListSize, 1)), c.get(1));
      assert.equal(await c.status(1), 200);
    },
  ],
  [
    "RFC 8441 3: ENABLE_CONNECT_PROTOCOL other than 0 and 1 is PROTOCOL_ERROR",
    async (c) => {
      c.send(frame(settings, 0, 0, setting(Setting.enableConnectProtocol, 2)));
      await c.connectionError(protocolError);
    },
  ],
  [
    "RFC 8441 3: ENABLE_CONNECT_PROTOCOL that is taken back is PROTOCOL_ERROR",
    async (c) => {
      for (const value of [1, 0])
        c.send(frame(settings, 0, 0, setting(Setting.enableConnectProtocol, value)));
      await c.connectionError(protocolError);
    },
  ],
  [
    "RFC 9218 2.1: NO_RFC7540_PRIORITIES other than 0 and 1 is PROTOCOL_ERROR",
    async (c) => {
      c.send(frame(settings, 0, 0, setting(Setting.noRfc7540Priorities, 2)));
      await c.connectionError(protocolError);
    },
  ],
  ...[0, 2].map((id): Rule => [
    `RFC 9218 7.1: PRIORITY_UPDATE of stream ${id} is PROTOCOL_ERROR`,
    async (c) => {
      c.send(frame(priorityUpdate, 0, 0, Buffer.concat([uint32(id), Buffer.from("u=1")])));
      await c.connectionError(protocolError);
    },
  ]),
  [
    "6.8: GOAWAY with an unknown code and debug data is an announcement like any other",
    async (c) => {
      const payload = Buffer.concat([uint32(0x7fffffff), uint32(0xdead), Buffer.from("bye\0\r\n")]);
      c.send(frame(goaway, 0, 0, payload), c.get(1));
      assert.equal(await c.status(1), 200);
    },
  ],
  [
    "6.9: the reserved bit of an increment is ignored",
    async (c) => {
      c.send(frame(settings, 0, 0, setting(4, 0)), c.open(1), frame(data, endStream, 1, bytes(3)));
      await c.head(1);
      c.send(frame(windowUpdate, 0, 1, uint32(0x80000001)));
      const first = await c.next("DATA", (one) => one.type === data);
      assert.equal(first.payload.length, 1);
    },
  ],
  [
    "6.10: a CONTINUATION of nothing ends a block",
    async (c) => {
      c.send(frame(headers, endStream, 1, c.request()), frame(continuation, endHeaders, 1));
      assert.equal(await c.status(1), 200);
    },
  ],
  [
    "6.10: CONTINUATION after a CONTINUATION that ended the block is PROTOCOL_ERROR",
    async (c) => {
      c.send(
        frame(headers, 0, 1, c.post()),
        frame(continuation, endHeaders, 1),
        frame(continuation, endHeaders, 1),
      );
      await c.connectionError(protocolError);
    },
  ],
  [
    "7: RST_STREAM with an unknown code is a reset like any other",
    async (c) => {
      c.send(c.open(1), frame(rstStream, 0, 1, uint32(0xdeadbeef)), frame(data, 0, 1, bytes(1)));
      await c.onlyStreamError(1, streamClosed);
    },
  ],
  [
    "8.1: HEADERS after the trailers is STREAM_CLOSED",
    async (c) => {
      const trailers = frame(headers, WHOLE, 1, block(["x-sum", "1"]));
      c.send(c.open(1), trailers, trailers);
      await c.streamError(1, streamClosed);
    },
  ],
  [
    "8.1.1: trailers after less than Content-Length are PROTOCOL_ERROR",
    async (c) => {
      c.send(
        c.open(1, ["content-length", "5"]),
        frame(data, 0, 1, bytes(3)),
        frame(headers, WHOLE, 1, block(["x-sum", "1"])),
      );
      await c.onlyStreamError(1, protocolError);
    },
  ],
  [
    "8.5: CONNECT with host and port is understood, and not offered",
    async (c) => {
      const connect = block([":method", "CONNECT"], [":authority", "test.example:443"]);
      c.send(frame(headers, endHeaders, 1, connect));
      assert.ok([400, 501].includes(await c.status(1)));
    },
  ],
];

const blocks: readonly Rule[] = badBlocks.map(([name, bad]) => [
  `RFC 7541 ${name} is a connection error COMPRESSION_ERROR`,
  async (c) => {
    c.send(frame(headers, WHOLE, 1, bad));
    await c.connectionError(compressionError);
  },
]);

const tables: readonly Rule[] = [
  [
    "RFC 7541 2.2: the table is one for all streams of a connection",
    async (c) => {
      const cookie = hex("40 06 636f6f6b6965 03 613d31");
      c.send(frame(headers, WHOLE, 1, Buffer.concat([c.request(), cookie])));
      c.send(frame(headers, WHOLE, 3, Buffer.concat([c.request(), hex("be be")])));
      assert.equal(await c.status(3), 200);
    },
  ],
  [
    "RFC 7541 4.2: a table that is emptied forgets: its entries are COMPRESSION_ERROR",
    async (c) => {
      c.send(frame(headers, WHOLE, 1, Buffer.concat([c.request(), hex("40 01 61 01 62")])));
      assert.equal(await c.status(1), 200);
      c.send(frame(headers, WHOLE, 3, Buffer.concat([hex("20"), c.request(), hex("be")])));
      await c.connectionError(compressionError);
    },
  ],
  [
    "RFC 7541 4.2: two changes of the table's size at the start of a block are fine",
    async (c) => {
      c.send(frame(headers, WHOLE, 1, Buffer.concat([hex("20 3f e1 1f"), c.request()])));
      assert.equal(await c.status(1), 200);
    },
  ],
  [
    "RFC 7541 4.2: a caller that allows no table gets blocks that need none, and is told so",
    async (c) => {
      c.send(frame(settings, 0, 0, setting(Setting.headerTableSize, 0)), c.get(1), c.get(3));
      await c.body(3);
      const heads = c.frames.filter((one) => one.type === headers);
      assert.equal(heads.length, 2);
      assert.equal(heads[0]!.payload[0], 0x20);
      for (const { payload } of heads)
        assert.ok(new HpackDecoder(0).decode(payload, 0, payload.length, { onLine() {} }));
    },
  ],
  [
    "RFC 7541 4.4: an entry larger than the table empties it and is no error",
    async (c) => {
      const large = Buffer.concat([hex("40 01 61"), integer(5000, 127, 0), Buffer.alloc(5000, 98)]);
      c.send(frame(headers, WHOLE, 1, Buffer.concat([c.request(), large])));
      assert.equal(await c.status(1), 200);
    },
  ],
  [
    "RFC 7541 6.1: a block that is a whole request in five octets",
    async (c) => {
      c.send(frame(headers, WHOLE, 1, hex("82 86 84 41 01 61")));
      assert.equal(await c.status(1), 200);
      c.send(frame(headers, WHOLE, 3, hex("82 86 84 be")));
      assert.equal(await c.status(3), 200);
    },
  ],
];

let serving: Serving;
before(async () => {
  serving = await Serving.start();
});
after(() => serving.stop());

onBothListeners(() => serving, [...rules, ...blocks, ...tables]);

for (const secure of [false, true])
  describe(secure ? "over TLS" : "in the clear", () => {
    test("3.4: an acknowledgement as the first frame is PROTOCOL_ERROR", async () => {
      using client = await serving.connect({ secure, settings: null });
      client.send(clientPreface, frame(settings, Flag.ack, 0));
      await client.connectionError(protocolError);
    });

    test("4.3: a caller that ends inside a header block is let go", async () => {
      using client = await serving.connect({ secure });
      client.send(frame(headers, endStream, 1, client.request()));
      client.socket.end();
      await client.untilEnded();
    });

    test("4.1: a caller that ends inside a frame is let go", async () => {
      using client = await serving.connect({ secure });
      client.send(client.get(1).subarray(0, 20));
      client.socket.end();
      await client.untilEnded();
    });
  });

function connectTls(options: tls.ConnectionOptions): tls.TLSSocket {
  return tls.connect({
    port: serving.gateway.ports[1]!,
    host: "127.0.0.1",
    servername: "test.example",
    ALPNProtocols: ["h2"],
    rejectUnauthorized: false,
    ...options,
  });
}

test("9.2: TLS older than 1.2 gets no connection", async () => {
  const socket = connectTls({
    minVersion: "TLSv1",
    maxVersion: "TLSv1.1",
    ciphers: "DEFAULT@SECLEVEL=0",
  });
  const [error] = (await once(socket, "error")) as [Error];
  assert.match(error.message, /version|protocol|alert/i);
});

test("9.2.1: renegotiation is refused", async () => {
  const socket = connectTls({ maxVersion: "TLSv1.2" });
  await once(socket, "secureConnect");
  assert.equal(socket.alpnProtocol, "h2");
  const refused = new Promise<Error | null>((resolve) => {
    socket.on("error", resolve);
    socket.renegotiate({ rejectUnauthorized: false }, resolve);
  });
  assert.notEqual(await refused, null);
  socket.destroy();
});
