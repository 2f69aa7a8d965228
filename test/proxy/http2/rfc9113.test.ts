/** Every rule of RFC 9113 sections 3 to 6 that a caller can break, as raw frames; over TLS and in the clear. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import {
  ErrorCode,
  Flag,
  FrameType,
  Setting,
  block,
  clientPreface,
  frame,
  uint32,
} from "./frame-client.ts";
import { onBothListeners, type Rule } from "./rules.ts";
import { Serving } from "./serving.ts";

const { protocolError, flowControlError, streamClosed, frameSizeError, compressionError } =
  ErrorCode;
const { refusedStream } = ErrorCode;
const { endStream, endHeaders, padded, priority } = Flag;
const { headers, data, settings, ping, continuation, windowUpdate, rstStream, goaway } = FrameType;
const PRIORITY = FrameType.priority;
const bytes = (length: number): Buffer => Buffer.alloc(length, 0x78);
const setting = (id: number, value: number): Buffer =>
  Buffer.concat([Buffer.from([id >> 8, id & 255]), uint32(value)]);

const cases: readonly Rule[] = [
  [
    "4.1: a frame of an unknown type is ignored",
    async (c) => {
      c.send(frame(0xfa, 0, 0, bytes(8)), frame(0xfa, 0xff, 1, bytes(8)));
      await c.ping();
    },
  ],
  [
    "4.1: flags that mean nothing are ignored",
    async (c) => {
      c.send(frame(ping, 0x16, 0, bytes(8)));
      await c.next("PING back", (one) => one.type === ping && one.flags === Flag.ack);
    },
  ],
  [
    "4.1: the reserved bit is ignored",
    async (c) => {
      const sent = frame(ping, 0, 0, bytes(8));
      sent[5] = 0x80;
      c.send(sent);
      await c.next("PING back", (one) => one.type === ping && one.flags === Flag.ack);
    },
  ],
  [
    "4.2: a DATA frame of 2^14 bytes is taken",
    async (c) => {
      c.send(c.open(1), frame(data, endStream, 1, bytes(16_384)));
      assert.equal(await c.status(1), 200);
    },
  ],
  [
    "4.2: a DATA frame above SETTINGS_MAX_FRAME_SIZE is FRAME_SIZE_ERROR",
    async (c) => {
      c.send(c.open(1), frame(data, endStream, 1, bytes(16_385)));
      await c.streamError(1, frameSizeError);
    },
  ],
  [
    "4.2: a HEADERS frame above SETTINGS_MAX_FRAME_SIZE is a connection error FRAME_SIZE_ERROR",
    async (c) => {
      c.send(frame(headers, endStream | endHeaders, 1, bytes(16_385)));
      await c.connectionError(frameSizeError);
    },
  ],
  [
    "4.3: a header block that cannot be decoded is COMPRESSION_ERROR",
    async (c) => {
      c.send(frame(headers, endStream | endHeaders, 1, Buffer.from([0x40])));
      await c.connectionError(compressionError);
    },
  ],
  [
    "4.3: a PRIORITY frame in the middle of a header block is PROTOCOL_ERROR",
    async (c) => {
      c.send(frame(headers, endStream, 1, c.request()), frame(PRIORITY, 0, 1, bytes(5)));
      await c.connectionError(protocolError);
    },
  ],
  [
    "4.3: HEADERS of another stream in the middle of a header block is PROTOCOL_ERROR",
    async (c) => {
      c.send(frame(headers, endStream, 1, c.request()), c.get(3));
      await c.connectionError(protocolError);
    },
  ],
  [
    "4.3: a header block in pieces of one byte is one block",
    async (c) => {
      const whole = c.request();
      const cut = 20;
      c.send(frame(headers, endStream, 1, whole.subarray(0, whole.length - cut)));
      for (let i = whole.length - cut; i < whole.length; i++) {
        const last = i === whole.length - 1 ? endHeaders : 0;
        c.send(frame(continuation, last, 1, whole.subarray(i, i + 1)));
      }
      assert.equal(await c.status(1), 200);
    },
  ],
  ...(
    [
      ["DATA", data, bytes(4)],
      ["RST_STREAM", rstStream, uint32(8)],
      ["WINDOW_UPDATE", windowUpdate, uint32(100)],
      ["CONTINUATION", continuation, bytes(4)],
    ] as const
  ).map(([name, type, payload]): Rule => [
    `5.1: ${name} on an idle stream is PROTOCOL_ERROR`,
    async (c) => {
      c.send(frame(type, 0, 1, payload));
      await c.connectionError(protocolError);
    },
  ]),
  [
    "5.1: PRIORITY on an idle stream is fine",
    async (c) => {
      c.send(frame(PRIORITY, 0, 7, Buffer.from([0, 0, 0, 0, 16])), c.get(1));
      assert.equal(await c.status(1), 200);
    },
  ],
  [
    "5.1: DATA after END_STREAM is STREAM_CLOSED",
    async (c) => {
      c.send(c.get(1), frame(data, endStream, 1, bytes(4)));
      await c.streamError(1, streamClosed);
    },
  ],
  [
    "5.1: HEADERS after END_STREAM is STREAM_CLOSED",
    async (c) => {
      c.send(c.get(1), c.get(1));
      await c.streamError(1, streamClosed);
    },
  ],
  [
    "5.1: CONTINUATION after END_STREAM is PROTOCOL_ERROR or STREAM_CLOSED",
    async (c) => {
      c.send(c.get(1), frame(continuation, endHeaders, 1, bytes(4)));
      await c.streamError(1, streamClosed, protocolError);
    },
  ],
  [
    "5.1: DATA after the other side's RST_STREAM is STREAM_CLOSED",
    async (c) => {
      c.send(c.open(1), frame(rstStream, 0, 1, uint32(8)), frame(data, endStream, 1, bytes(4)));
      await c.streamError(1, streamClosed);
    },
  ],
  [
    "5.1: HEADERS after the other side's RST_STREAM is STREAM_CLOSED",
    async (c) => {
      c.send(c.open(1), frame(rstStream, 0, 1, uint32(8)), c.get(1));
      await c.streamError(1, streamClosed);
    },
  ],
  [
    "5.1: CONTINUATION after RST_STREAM is PROTOCOL_ERROR or STREAM_CLOSED",
    async (c) => {
      c.send(
        c.open(1),
        frame(rstStream, 0, 1, uint32(8)),
        frame(continuation, endHeaders, 1, bytes(4)),
      );
      await c.streamError(1, streamClosed, protocolError);
    },
  ],
  [
    "5.1: DATA on a stream that has ended is STREAM_CLOSED",
    async (c) => {
      c.send(c.get(1));
      await c.body(1);
      c.send(frame(data, endStream, 1, bytes(4)));
      await c.streamError(1, streamClosed);
    },
  ],
  [
    "5.1: HEADERS on a stream that has ended is a connection error STREAM_CLOSED",
    async (c) => {
      c.send(c.get(1));
      await c.body(1);
      c.send(c.get(1));
      await c.connectionError(streamClosed);
    },
  ],
  [
    "5.1: WINDOW_UPDATE, RST_STREAM and PRIORITY on a stream that has ended are ignored",
    async (c) => {
      c.send(c.get(1));
      await c.body(1);
      c.send(
        frame(windowUpdate, 0, 1, uint32(1)),
        frame(rstStream, 0, 1, uint32(0)),
        frame(PRIORITY, 0, 1, Buffer.from([0, 0, 0, 0, 16])),
      );
      await c.ping();
    },
  ],
  [
    "5.1.1: an even stream number from a client is PROTOCOL_ERROR",
    async (c) => {
      c.send(c.get(2));
      await c.connectionError(protocolError);
    },
  ],
  [
    "5.1.1: a stream number below an earlier one is PROTOCOL_ERROR",
    async (c) => {
      c.send(c.get(5), c.get(3));
      await c.connectionError(protocolError);
    },
  ],
  [
    "5.1.2: more streams than SETTINGS_MAX_CONCURRENT_STREAMS are refused",
    async (c) => {
      const ids = Array.from({ length: 129 }, (_, i) => i * 2 + 1);
      c.send(...ids.map((id) => c.open(id)));
      await c.onlyStreamError(257, refusedStream);
    },
  ],
  [
    "5.3.1: HEADERS of a stream that depends on itself is PROTOCOL_ERROR",
    async (c) => {
      const payload = Buffer.concat([uint32(1), Buffer.from([16]), c.request()]);
      c.send(frame(headers, endStream | endHeaders | priority, 1, payload));
      await c.streamError(1, protocolError);
    },
  ],
  [
    "5.3.1: PRIORITY of a stream that depends on itself is PROTOCOL_ERROR",
    async (c) => {
      c.send(c.open(1), frame(PRIORITY, 0, 1, Buffer.concat([uint32(1), Buffer.from([16])])));
      await c.streamError(1, protocolError);
    },
  ],
  [
    "5.4.1: after a connection error comes GOAWAY with the last stream, then the end",
    async (c) => {
      c.send(c.get(1));
      await c.body(1);
      c.send(frame(ping, 0, 0, bytes(7)));
      const last = await c.next("GOAWAY", (one) => one.type === goaway);
      assert.equal(last.payload.readUInt32BE(0), 1);
      await c.untilEnded();
    },
  ],
  [
    "5.5: an unknown frame in the middle of a header block is PROTOCOL_ERROR",
    async (c) => {
      c.send(frame(headers, endStream, 1, c.request()), frame(0xfa, 0, 1, bytes(4)));
      await c.connectionError(protocolError);
    },
  ],
  [
    "6.1: DATA on stream 0 is PROTOCOL_ERROR",
    async (c) => {
      c.send(frame(data, endStream, 0, bytes(4)));
      await c.connectionError(protocolError);
    },
  ],
  [
    "6.1: padding as long as its DATA frame is PROTOCOL_ERROR",
    async (c) => {
      c.send(
        c.open(1),
        frame(data, endStream | padded, 1, Buffer.concat([Buffer.from([6]), bytes(5)])),
      );
      await c.connectionError(protocolError);
    },
  ],
  [
    "6.1: a padded DATA frame is its data without the padding",
    async (c) => {
      const payload = Buffer.concat([Buffer.from([3]), Buffer.from("data"), Buffer.alloc(3)]);
      c.send(c.open(1), frame(data, endStream | padded, 1, payload));
      assert.equal((await c.body(1)).toString(), "data");
    },
  ],
  [
    "6.1: a DATA frame that says padded and is empty is PROTOCOL_ERROR",
    async (c) => {
      c.send(c.open(1), frame(data, endStream | padded, 1));
      await c.connectionError(protocolError);
    },
  ],
  [
    "6.2: HEADERS on stream 0 is PROTOCOL_ERROR",
    async (c) => {
      c.send(c.get(0));
      await c.connectionError(protocolError);
    },
  ],
  [
    "6.2: padding longer than its HEADERS frame is PROTOCOL_ERROR",
    async (c) => {
      const payload = Buffer.concat([Buffer.from([200]), c.request().subarray(0, 30)]);
      c.send(frame(headers, endStream | endHeaders | padded, 1, payload));
      await c.connectionError(protocolError);
    },
  ],
  [
    "6.2: HEADERS with padding and priority is its block without both",
    async (c) => {
      const payload = Buffer.concat([
        Buffer.from([4]),
        uint32(0),
        Buffer.from([16]),
        c.request(),
        Buffer.alloc(4),
      ]);
      c.send(frame(headers, endStream | endHeaders | padded | priority, 1, payload));
      assert.equal(await c.status(1), 200);
    },
  ],
  [
    "6.3: PRIORITY on stream 0 is PROTOCOL_ERROR",
    async (c) => {
      c.send(frame(PRIORITY, 0, 0, bytes(5)));
      await c.connectionError(protocolError);
    },
  ],
  [
    "6.3: PRIORITY of other than five bytes is FRAME_SIZE_ERROR",
    async (c) => {
      c.send(c.open(1), frame(PRIORITY, 0, 1, bytes(4)));
      await c.streamError(1, frameSizeError);
    },
  ],
  [
    "6.4: RST_STREAM on stream 0 is PROTOCOL_ERROR",
    async (c) => {
      c.send(frame(rstStream, 0, 0, uint32(8)));
      await c.connectionError(protocolError);
    },
  ],
  [
    "6.4: RST_STREAM of other than four bytes is FRAME_SIZE_ERROR",
    async (c) => {
      c.send(c.open(1), frame(rstStream, 0, 1, bytes(3)));
      await c.connectionError(frameSizeError);
    },
  ],
  [
    "6.5: an acknowledgement of SETTINGS with content is FRAME_SIZE_ERROR",
    async (c) => {
      c.send(frame(settings, Flag.ack, 0, setting(4, 1)));
      await c.connectionError(frameSizeError);
    },
  ],
  [
    "6.5: SETTINGS on a stream is PROTOCOL_ERROR",
    async (c) => {
      c.send(frame(settings, 0, 1, setting(4, 1)));
      await c.connectionError(protocolError);
    },
  ],
  [
    "6.5: SETTINGS whose length is no multiple of six is FRAME_SIZE_ERROR",
    async (c) => {
      c.send(frame(settings, 0, 0, bytes(3)));
      await c.connectionError(frameSizeError);
    },
  ],
  [
    "6.5.2: ENABLE_PUSH other than 0 and 1 is PROTOCOL_ERROR",
    async (c) => {
      c.send(frame(settings, 0, 0, setting(Setting.enablePush, 2)));
      await c.connectionError(protocolError);
    },
  ],
  [
    "6.5.2: INITIAL_WINDOW_SIZE above 2^31-1 is FLOW_CONTROL_ERROR",
    async (c) => {
      c.send(frame(settings, 0, 0, setting(Setting.initialWindowSize, 0x80000000)));
      await c.connectionError(flowControlError);
    },
  ],
  [
    "6.5.2: MAX_FRAME_SIZE below 2^14 is PROTOCOL_ERROR",
    async (c) => {
      c.send(frame(settings, 0, 0, setting(Setting.maxFrameSize, 16_383)));
      await c.connectionError(protocolError);
    },
  ],
  [
    "6.5.2: MAX_FRAME_SIZE above 2^24-1 is PROTOCOL_ERROR",
    async (c) => {
      c.send(frame(settings, 0, 0, setting(Setting.maxFrameSize, 0x1000000)));
      await c.connectionError(protocolError);
    },
  ],
  [
    "6.5.2: an unknown setting is ignored",
    async (c) => {
      c.send(frame(settings, 0, 0, setting(0xff, 1)));
      await c.ping();
    },
  ],
  [
    "6.5.3: the last of several values of a setting holds",
    async (c) => {
      c.send(
        frame(settings, 0, 0, Buffer.concat([setting(4, 100), setting(4, 1)])),
        c.open(1),
        frame(data, endStream, 1, bytes(4)),
      );
      const first = await c.next("DATA", (one) => one.type === data);
      assert.equal(first.payload.length, 1);
    },
  ],
  [
    "6.5.3: SETTINGS are acknowledged",
    async (c) => {
      const isAck = (one: { type: number; flags: number }): boolean =>
        one.type === settings && one.flags === Flag.ack;
      await c.next("the first acknowledgement", isAck);
      c.send(frame(settings, 0, 0, setting(3, 10)));
      await c.next("the second acknowledgement", isAck);
    },
  ],
  [
    "6.6: PUSH_PROMISE from a client is PROTOCOL_ERROR",
    async (c) => {
      const payload = Buffer.concat([uint32(2), c.request()]);
      c.send(c.open(1), frame(FrameType.pushPromise, endHeaders, 1, payload));
      await c.connectionError(protocolError);
    },
  ],
  [
    "6.7: PING comes back with the same payload",
    async (c) => {
      c.send(frame(ping, 0, 0, Buffer.from("12345678")));
      const back = await c.next("PING back", (one) => one.type === ping);
      assert.equal(back.payload.toString(), "12345678");
      assert.equal(back.flags, Flag.ack);
    },
  ],
  [
    "6.7: an acknowledgement of a PING is not answered",
    async (c) => {
      c.send(frame(ping, Flag.ack, 0, Buffer.from("acked---")));
      await c.ping();
      assert.equal(c.frames.filter((one) => one.payload.toString() === "acked---").length, 0);
    },
  ],
  [
    "6.7: PING on a stream is PROTOCOL_ERROR",
    async (c) => {
      c.send(frame(ping, 0, 1, bytes(8)));
      await c.connectionError(protocolError);
    },
  ],
  [
    "6.7: PING of other than eight bytes is FRAME_SIZE_ERROR",
    async (c) => {
      c.send(frame(ping, 0, 0, bytes(6)));
      await c.connectionError(frameSizeError);
    },
  ],
  [
    "6.8: GOAWAY on a stream is PROTOCOL_ERROR",
    async (c) => {
      c.send(frame(goaway, 0, 1, Buffer.alloc(8)));
      await c.connectionError(protocolError);
    },
  ],
  [
    "6.8: after GOAWAY from the client its streams are still answered",
    async (c) => {
      c.send(c.open(1), frame(goaway, 0, 0, Buffer.alloc(8)), frame(data, endStream, 1, bytes(3)));
      assert.equal((await c.body(1)).length, 3);
    },
  ],
  [
    "6.9: WINDOW_UPDATE by 0 of the connection is PROTOCOL_ERROR",
    async (c) => {
      c.send(frame(windowUpdate, 0, 0, uint32(0)));
      await c.connectionError(protocolError);
    },
  ],
  [
    "6.9: WINDOW_UPDATE by 0 of a stream is a stream error PROTOCOL_ERROR",
    async (c) => {
      c.send(c.open(1), frame(windowUpdate, 0, 1, uint32(0)));
      await c.onlyStreamError(1, protocolError);
    },
  ],
  [
    "6.9: WINDOW_UPDATE of other than four bytes is FRAME_SIZE_ERROR",
    async (c) => {
      c.send(frame(windowUpdate, 0, 0, bytes(3)));
      await c.connectionError(frameSizeError);
    },
  ],
  [
    "6.9.1: an answer stays within the window",
    async (c) => {
      c.send(frame(settings, 0, 0, setting(4, 1)), c.open(1), frame(data, endStream, 1, bytes(5)));
      const first = await c.next("DATA", (one) => one.type === data);
      assert.equal(first.payload.length, 1);
      await c.ping();
      assert.equal(c.frames.filter((one) => one.type === data).length, 1);
      c.grant(1, 100);
      assert.equal((await c.body(1)).length, 5);
    },
  ],
  [
    "6.9.1: a window of the connection above 2^31-1 is FLOW_CONTROL_ERROR",
    async (c) => {
      c.send(
        frame(windowUpdate, 0, 0, uint32(0x7fffffff)),
        frame(windowUpdate, 0, 0, uint32(0x7fffffff)),
      );
      await c.connectionError(flowControlError);
    },
  ],
  [
    "6.9.1: a window of a stream above 2^31-1 is a stream error FLOW_CONTROL_ERROR",
    async (c) => {
      c.send(
        c.open(1),
        frame(windowUpdate, 0, 1, uint32(0x7fffffff)),
        frame(windowUpdate, 0, 1, uint32(0x7fffffff)),
      );
      await c.onlyStreamError(1, flowControlError);
    },
  ],
  [
    "6.9.2: a smaller INITIAL_WINDOW_SIZE makes windows negative until they are granted again",
    async (c) => {
      c.send(frame(settings, 0, 0, setting(4, 3)), c.open(1), frame(data, endStream, 1, bytes(6)));
      await c.next("three bytes", (one) => one.type === data && one.payload.length === 3);
      c.send(frame(settings, 0, 0, setting(4, 2)));
      c.grant(1, 1);
      await c.ping();
      assert.equal(c.frames.filter((one) => one.type === data).length, 1);
      c.grant(1, 10);
      assert.equal((await c.body(1)).length, 6);
    },
  ],
  [
    "6.9.2: INITIAL_WINDOW_SIZE that opens a window lets the answer go on",
    async (c) => {
      c.send(frame(settings, 0, 0, setting(4, 0)), c.open(1), frame(data, endStream, 1, bytes(6)));
      await c.head(1);
      c.send(frame(settings, 0, 0, setting(4, 1)));
      const first = await c.next("DATA", (one) => one.type === data);
      assert.equal(first.payload.length, 1);
      c.send(frame(settings, 0, 0, setting(4, 100)));
      assert.equal((await c.body(1)).length, 6);
    },
  ],
  [
    "6.9.2: INITIAL_WINDOW_SIZE that overflows a window is FLOW_CONTROL_ERROR",
    async (c) => {
      c.send(c.open(1));
      c.grant(1, 0x7fffffff - 65_535);
      c.send(frame(settings, 0, 0, setting(4, 65_536)));
      await c.connectionError(flowControlError);
    },
  ],
  [
    "6.10: CONTINUATION frames after HEADERS are one block",
    async (c) => {
      const whole = c.request(["x-long", "y".repeat(20_000)]);
      c.send(
        frame(headers, endStream, 1, whole.subarray(0, 10_000)),
        frame(continuation, 0, 1, whole.subarray(10_000, 20_000)),
        frame(continuation, endHeaders, 1, whole.subarray(20_000)),
      );
      assert.equal(await c.status(1), 200);
    },
  ],
  [
    "6.10: CONTINUATION after a block that has ended is PROTOCOL_ERROR",
    async (c) => {
      c.send(c.open(1), frame(continuation, endHeaders, 1, block(["a", "b"])));
      await c.connectionError(protocolError);
    },
  ],
  [
    "6.10: CONTINUATION on stream 0 is PROTOCOL_ERROR",
    async (c) => {
      c.send(
        frame(headers, endStream, 1, c.request()),
        frame(continuation, endHeaders, 0, block(["a", "b"])),
      );
      await c.connectionError(protocolError);
    },
  ],
  [
    "6.10: CONTINUATION on another stream is PROTOCOL_ERROR",
    async (c) => {
      c.send(
        frame(headers, endStream, 1, c.request()),
        frame(continuation, endHeaders, 3, block(["a", "b"])),
      );
      await c.connectionError(protocolError);
    },
  ],
  [
    "6.10: DATA between HEADERS and CONTINUATION is PROTOCOL_ERROR",
    async (c) => {
      c.send(frame(headers, 0, 1, c.request()), frame(data, 0, 1, bytes(1)));
      await c.connectionError(protocolError);
    },
  ],
  [
    "RFC 9218 7.1: PRIORITY_UPDATE is taken on stream 0 and PROTOCOL_ERROR elsewhere",
    async (c) => {
      c.send(frame(FrameType.priorityUpdate, 0, 0, Buffer.concat([uint32(1), Buffer.from("u=1")])));
      await c.ping();
      c.send(frame(FrameType.priorityUpdate, 0, 1, Buffer.concat([uint32(1), Buffer.from("u=1")])));
      await c.connectionError(protocolError);
    },
  ],
];

let serving: Serving;
before(async () => {
  serving = await Serving.start();
});
after(() => serving.stop());

for (const secure of [false, true]) {
  describe(secure ? "over TLS" : "in the clear", () => {
    test("3.4: the server's first frame is SETTINGS", async () => {
      using client = await serving.connect({ secure, settings: null });
      client.send(clientPreface);
      await client.until("a frame", () => client.frames.length > 0);
      assert.equal(client.frames[0]!.type, settings);
      assert.equal(client.frames[0]!.flags, 0);
    });
    test("3.4: a preface that is wrong closes the connection", async () => {
      using client = await serving.connect({ secure, settings: null });
      const wrong = Buffer.from(clientPreface);
      wrong[clientPreface.length - 1] = 0x21;
      client.send(wrong, Buffer.from("more"));
      await client.untilEnded();
    });
    test("3.4: bytes that are no HTTP at all close the connection without an answer", async () => {
      using client = await serving.connect({ secure, settings: null });
      client.send(Buffer.from("INVALID CONNECTION PREFACE\r\n\r\n"));
      await client.untilEnded();
      assert.deepEqual(
        client.frames.filter((one) => one.type !== settings && one.type !== goaway),
        [],
      );
    });
    test("3.4: a first frame that is not SETTINGS is PROTOCOL_ERROR", async () => {
      using client = await serving.connect({ secure, settings: null });
      client.send(clientPreface, frame(ping, 0, 0, bytes(8)));
      await client.connectionError(protocolError);
    });
    test("3.4: a preface byte by byte is a preface", async () => {
      using client = await serving.connect({ secure, settings: null });
      for (const byte of Buffer.concat([clientPreface, frame(settings, 0, 0)])) {
        await new Promise((resolve) => client.socket.write(Buffer.from([byte]), resolve));
      }
      client.send(client.get(1));
      assert.equal(await client.status(1), 200);
    });
  });
}

onBothListeners(() => serving, cases);
