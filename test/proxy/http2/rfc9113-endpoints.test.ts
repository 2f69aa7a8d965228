/** Every rule of RFC 9113 and RFC 7541 that an endpoint can break against us, as raw frames; over TLS and in the clear. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { clientPreface, errorName, readUint32 } from "../../../proxy/http2/frames.ts";
import { signed, testAuthority, type Pair } from "../../support/certificates.ts";
import { eventually, within } from "../../support/eventually.ts";
import { Lanes, type Lane } from "../../support/lanes.ts";
import type { OriginConnection } from "../../support/origin.ts";
import type { RawClient } from "../../support/raw-client.ts";
import { badBlocks } from "./bad-blocks.ts";
import { block, ErrorCode, Flag, frame, FrameType, Setting, uint32 } from "./frame-client.ts";
import { FramePeer } from "./frame-peer.ts";

let lanes: Lanes;
let pair: Pair;
before(async () => {
  const authority = await testAuthority();
  pair = await signed(authority, { dns: ["origin.test"] });
  const policy = "{ retry: { attempts: 0 } }";
  const tls = "tls: { ca: ca.crt, serverName: origin.test }";
  lanes = await Lanes.start({
    files: { "ca.crt": authority.cert },
    kinds: {
      clear: { count: 170, service: "protocol: http2", policy },
      secure: { count: 170, service: `protocol: http2, ${tls}`, policy },
    },
  });
});
after(() => lanes.stop());

type Kind = "clear" | "secure";
type Settings = readonly (readonly [number, number])[] | null;
type Play = (peer: FramePeer) => void | Promise<void>;
type Bytes = (peer: FramePeer, id: number) => Buffer;

const kinds: readonly Kind[] = ["clear", "secure"];
const where = { clear: "in the clear", secure: "over TLS" } as const;

/** Endpoints whose every connection plays the same. */
function laneOf(kind: Kind, play: Play, settings: Settings = []): Promise<Lane> {
  const { cert, key } = pair;
  const tls = kind === "secure" ? { cert, key, ALPNProtocols: ["h2"] } : undefined;
  return lanes.lane(
    (connection: OriginConnection) => play(new FramePeer(connection, settings)),
    kind,
    tls === undefined ? {} : { tls },
  );
}

async function asking(lane: Lane): Promise<RawClient> {
  const client = await lane.connect();
  await client.send(lane.head("GET /"));
  return client;
}

function goawayCode(peer: FramePeer): Promise<number> {
  return peer
    .frame("GOAWAY", (one) => one.type === FrameType.goaway)
    .then((one) => readUint32(one.payload, 4));
}

const counted = (code: number): Promise<number> =>
  lanes.gateway.metric("weft_protocol_errors_total", { side: "upstream", error: errorName(code) });

/** The error has been counted once more, and a line of the log names endpoint, code and reason. */
async function isTold(lane: Lane, code: number, before: number): Promise<void> {
  const name = errorName(code);
  await eventually(`${name} to be counted`, async () => (await counted(code)) > before);
  const line = new RegExp(`http2: ${lane.origin.address}: [a-z0-9 ]+: ${name}: \\\\?\\S`);
  const { gateway } = lanes;
  await eventually(`${name} in the log`, () => line.test(gateway.stdout + gateway.stderr));
}

const HEAD = Flag.endHeaders;
const WHOLE = Flag.endHeaders | Flag.endStream;
const { protocolError, frameSizeError, flowControlError, compressionError } = ErrorCode;
const { streamClosed, enhanceYourCalm } = ErrorCode;

const many = (count: number, one: Buffer): Buffer =>
  Buffer.concat(Array.from({ length: count }, () => one));
const fill = (length: number): Buffer => Buffer.alloc(length, 0x78);
const setting = (id: number, value: number): Buffer =>
  Buffer.concat([Buffer.from([id >> 8, id & 255]), uint32(value)]);
const settings = (id: number, value: number): Buffer =>
  frame(FrameType.settings, 0, 0, setting(id, value));
const OK = block([":status", "200"]);

/** What an endpoint may send instead of an answer, and the code that it is told. */
const broken: Record<string, readonly [Bytes, number]> = {
  "4.2: DATA above the limit": [
    (_, id) => frame(FrameType.data, 0, id, fill(16_385)),
    frameSizeError,
  ],
  "4.2: HEADERS above the limit": [
    (_, id) => frame(FrameType.headers, HEAD, id, fill(16_385)),
    frameSizeError,
  ],
  "4.2: CONTINUATION above the limit": [
    (_, id) =>
      Buffer.concat([
        frame(FrameType.headers, 0, id, OK),
        frame(FrameType.continuation, HEAD, id, fill(16_385)),
      ]),
    frameSizeError,
  ],
  "4.2: a frame of an unknown type above the limit": [
    () => frame(0xfa, 0, 0, fill(16_385)),
    frameSizeError,
  ],
  "4.2: HEADERS too short for their priority": [
    (_, id) => frame(FrameType.headers, HEAD | Flag.priority, id, fill(4)),
    frameSizeError,
  ],
  "4.2: HEADERS too short for the length of their padding": [
    (_, id) => frame(FrameType.headers, HEAD | Flag.padded, id),
    frameSizeError,
  ],
  ...Object.fromEntries(
    badBlocks.map(([name, bad]): [string, [Bytes, number]] => [
      `RFC 7541 ${name}`,
      [(_, id) => frame(FrameType.headers, HEAD, id, bad), compressionError],
    ]),
  ),
  "RFC 7541 4.2: trailers that are no HPACK": [
    (peer, id) =>
      Buffer.concat([
        frame(FrameType.headers, HEAD, id, block([":status", "103"])),
        frame(FrameType.headers, WHOLE, id, Buffer.from([0xff])),
        peer.data(id, ""),
      ]),
    compressionError,
  ],
  "5.1: DATA on an idle stream": [() => frame(FrameType.data, 0, 99, fill(1)), protocolError],
  "5.1: HEADERS on an idle stream": [() => frame(FrameType.headers, WHOLE, 99, OK), protocolError],
  "5.1: RST_STREAM of an idle stream": [(peer) => peer.reset(99, 0), protocolError],
  "5.1: WINDOW_UPDATE of an idle stream": [
    () => frame(FrameType.windowUpdate, 0, 99, uint32(1)),
    protocolError,
  ],
  "5.1: DATA on a stream of the server's": [
    () => frame(FrameType.data, 0, 2, fill(1)),
    protocolError,
  ],
  "5.1.1: HEADERS on a stream of the server's": [
    () => frame(FrameType.headers, WHOLE, 2, OK),
    protocolError,
  ],
  "5.5: an unknown frame inside a header block": [
    (_, id) => Buffer.concat([frame(FrameType.headers, 0, id, OK), frame(0xfa, 0, id, fill(4))]),
    protocolError,
  ],
  "6.1: DATA on stream 0": [() => frame(FrameType.data, 0, 0, fill(1)), protocolError],
  "6.1: padding longer than DATA": [
    (_, id) => frame(FrameType.data, Flag.padded, id, Buffer.from([9, 1, 2])),
    protocolError,
  ],
  "6.1: padded DATA without a length": [
    (_, id) => frame(FrameType.data, Flag.padded, id),
    protocolError,
  ],
  "6.2: HEADERS on stream 0": [() => frame(FrameType.headers, WHOLE, 0, OK), protocolError],
  "6.2: padding longer than HEADERS": [
    (_, id) => frame(FrameType.headers, HEAD | Flag.padded, id, Buffer.from([200, 0x88])),
    protocolError,
  ],
  "6.3: PRIORITY on stream 0": [() => frame(FrameType.priority, 0, 0, fill(5)), protocolError],
  "6.4: RST_STREAM of three bytes": [
    (_, id) => frame(FrameType.rstStream, 0, id, fill(3)),
    frameSizeError,
  ],
  "6.4: RST_STREAM on stream 0": [() => frame(FrameType.rstStream, 0, 0, uint32(0)), protocolError],
  "6.5: SETTINGS of five bytes": [() => frame(FrameType.settings, 0, 0, fill(5)), frameSizeError],
  "6.5: SETTINGS on a stream": [(_, id) => frame(FrameType.settings, 0, id), protocolError],
  "6.5: an acknowledgement with settings": [
    () => frame(FrameType.settings, Flag.ack, 0, setting(4, 1)),
    frameSizeError,
  ],
  "6.5: more settings in one frame than anybody has (CVE-2020-11080)": [
    () => frame(FrameType.settings, 0, 0, many(33, setting(4, 65_535))),
    enhanceYourCalm,
  ],
  "6.5.2: a server that enables push": [() => settings(Setting.enablePush, 1), protocolError],
  "6.5.2: ENABLE_PUSH of 2": [() => settings(Setting.enablePush, 2), protocolError],
  "6.5.2: a window above 2^31-1": [() => settings(4, 0x80000000), flowControlError],
  "6.5.2: a frame size below 2^14": [() => settings(5, 16_383), protocolError],
  "6.5.2: a frame size above 2^24-1": [() => settings(5, 0x1000000), protocolError],
  "RFC 8441 3: ENABLE_CONNECT_PROTOCOL of 2": [
    () => settings(Setting.enableConnectProtocol, 2),
    protocolError,
  ],
  "RFC 9218 2.1: NO_RFC7540_PRIORITIES of 2": [
    () => settings(Setting.noRfc7540Priorities, 2),
    protocolError,
  ],
  "RFC 9218 7.1: PRIORITY_UPDATE from a server": [
    (_, id) =>
      frame(FrameType.priorityUpdate, 0, 0, Buffer.concat([uint32(id), Buffer.from("u=1")])),
    protocolError,
  ],
  "6.6: PUSH_PROMISE": [
    (_, id) =>
      frame(FrameType.pushPromise, HEAD, id, Buffer.concat([uint32(2), block([":method", "GET"])])),
    protocolError,
  ],
  "6.6: PUSH_PROMISE on stream 0": [
    () => frame(FrameType.pushPromise, HEAD, 0, uint32(2)),
    protocolError,
  ],
  "6.7: PING of seven bytes": [() => frame(FrameType.ping, 0, 0, fill(7)), frameSizeError],
  "6.7: PING on a stream": [(_, id) => frame(FrameType.ping, 0, id, fill(8)), protocolError],
  "6.8: GOAWAY of four bytes": [() => frame(FrameType.goaway, 0, 0, fill(4)), frameSizeError],
  "6.8: GOAWAY on a stream": [
    (_, id) => frame(FrameType.goaway, 0, id, Buffer.alloc(8)),
    protocolError,
  ],
  "6.9: WINDOW_UPDATE of nothing": [
    () => frame(FrameType.windowUpdate, 0, 0, uint32(0)),
    protocolError,
  ],
  "6.9: WINDOW_UPDATE of three bytes": [
    (_, id) => frame(FrameType.windowUpdate, 0, id, fill(3)),
    frameSizeError,
  ],
  "6.9.1: windows that overflow": [
    () => many(2, frame(FrameType.windowUpdate, 0, 0, uint32(0x7fffffff))),
    flowControlError,
  ],
  "6.9.2: an initial window that overflows the window of a stream": [
    (_, id) =>
      Buffer.concat([
        frame(FrameType.windowUpdate, 0, id, uint32(1)),
        settings(Setting.initialWindowSize, 0x7fffffff),
      ]),
    flowControlError,
  ],
  "6.10: CONTINUATION without HEADERS": [
    (_, id) => frame(FrameType.continuation, HEAD, id, OK),
    protocolError,
  ],
  "6.10: CONTINUATION on stream 0": [
    (_, id) =>
      Buffer.concat([
        frame(FrameType.headers, 0, id, OK),
        frame(FrameType.continuation, HEAD, 0, OK),
      ]),
    protocolError,
  ],
  "6.10: another frame inside a header block": [
    (_, id) =>
      Buffer.concat([
        frame(FrameType.headers, 0, id, OK),
        frame(FrameType.ping, 0, 0, Buffer.alloc(8)),
      ]),
    protocolError,
  ],
  "10.5: a flood of CONTINUATION (CVE-2024-27316)": [
    (_, id) =>
      Buffer.concat([
        frame(FrameType.headers, 0, id, OK),
        many(200, frame(FrameType.continuation, 0, id, block(["x", "y"]))),
      ]),
    enhanceYourCalm,
  ],
  "10.5: a flood of empty CONTINUATION": [
    (_, id) =>
      Buffer.concat([
        frame(FrameType.headers, 0, id, OK),
        many(200, frame(FrameType.continuation, 0, id)),
      ]),
    enhanceYourCalm,
  ],
  "10.5: a head without end": [
    (_, id) =>
      Buffer.concat([
        frame(FrameType.headers, 0, id, OK),
        many(20, frame(FrameType.continuation, 0, id, block(["x", "y".repeat(8000)]))),
      ]),
    enhanceYourCalm,
  ],
  ...Object.fromEntries(
    (
      [
        ["PING (CVE-2019-9512)", () => frame(FrameType.ping, 0, 0, fill(8))],
        ["acknowledged PING", () => frame(FrameType.ping, Flag.ack, 0, fill(8))],
        ["SETTINGS (CVE-2019-9515)", () => frame(FrameType.settings, 0, 0)],
        ["acknowledged SETTINGS", () => frame(FrameType.settings, Flag.ack, 0)],
        ["PRIORITY", (id) => frame(FrameType.priority, 0, id, Buffer.alloc(5))],
        ["WINDOW_UPDATE", () => frame(FrameType.windowUpdate, 0, 0, uint32(1))],
        ["unknown", () => frame(0xfa, 0, 0, fill(4))],
      ] as const satisfies readonly (readonly [string, (id: number) => Buffer])[]
    ).map(([name, one]): [string, [Bytes, number]] => [
      `10.5: a flood of ${name} frames`,
      [(_, id) => many(10_000, one(id)), enhanceYourCalm],
    ]),
  ),
};

const whole = (id: number, ...fields: readonly (readonly [string, string])[]): Buffer =>
  frame(FrameType.headers, WHOLE, id, block(...fields));
const status = (value: string): Bytes => {
  return (_, id) => whole(id, [":status", value]);
};
const field = (name: string, value: string): Bytes => {
  return (_, id) => whole(id, [":status", "200"], [name, value]);
};

/** Answers that are malformed, and what else concerns one stream alone; the code is PROTOCOL_ERROR where none is given. */
const malformed: Record<string, Bytes | readonly [Bytes, number]> = {
  "8.1: an informational answer that ends": status("103"),
  "8.1: DATA before the head": (peer, id) => peer.data(id, "early", Flag.endStream),
  "8.1: DATA after an informational answer": (peer, id) =>
    Buffer.concat([peer.head(id, 103), peer.data(id, "early", Flag.endStream)]),
  "8.1: seventeen informational answers": (peer, id) => many(17, peer.head(id, 103)),
  "8.1.1: two lengths": (peer, id) =>
    peer.head(id, 200, [
      ["content-length", "1"],
      ["content-length", "2"],
    ]),
  "8.1.1: a length without a body": field("content-length", "5"),
  "8.1.1: a length with a sign": field("content-length", "+5"),
  "8.1.1: a length that is a list": field("content-length", "0, 0"),
  "8.2: an upper-case name": field("X-Up", "1"),
  "8.2.1: an empty name": field("", "1"),
  "8.2.1: a space in a name": field("a b", "1"),
  "8.2.1: a colon in a name": field("a:b", "1"),
  "8.2.1: CR LF in a name": field("a\r\nset-cookie", "evil=1"),
  "8.2.1: a control character in a name": field("a\x01", "1"),
  "8.2.1: DEL in a name": field("a\x7f", "1"),
  "8.2.1: a character above 0x7e in a name": field("a\xe9", "1"),
  "8.2.1: CR LF in a value": field("x", "a\r\nset-cookie: evil=1"),
  "8.2.1: a whole answer in a value": field("x", "a\r\n\r\nHTTP/1.1 200 OK\r\nevil: 1\r\n\r\n"),
  "8.2.1: LF in a value": field("x", "a\nevil: 1"),
  "8.2.1: CR in a value": field("x", "a\revil: 1"),
  "8.2.1: LF after a value": field("x", "a\n"),
  "8.2.1: NUL in a value": field("x", "a\0b"),
  "8.2.1: a space before a value": field("x", " a"),
  "8.2.1: a tab after a value": field("x", "a\t"),
  "8.2.2: Connection": field("connection", "close"),
  "8.2.2: Keep-Alive": field("keep-alive", "timeout=1"),
  "8.2.2: Proxy-Connection": field("proxy-connection", "close"),
  "8.2.2: Transfer-Encoding": field("transfer-encoding", "chunked"),
  "8.2.2: Upgrade": field("upgrade", "h2c"),
  "8.3: an unknown pseudo-header field": field(":version", "1"),
  "8.3: a pseudo-header field of requests": field(":path", "/"),
  "8.3: :status twice": field(":status", "204"),
  "8.3: :status twice, the same": field(":status", "200"),
  "8.3: :status after a field": (_, id) => whole(id, ["a", "b"], [":status", "200"]),
  "8.3.2: no :status": (_, id) => whole(id, ["a", "b"]),
  "8.3.2: an empty head": (_, id) => whole(id),
  "8.3.2: an empty :status": status(""),
  "8.3.2: :status in words": status("fine"),
  "8.3.2: :status of two digits": status("20"),
  "8.3.2: :status of four digits": status("2000"),
  "8.3.2: :status below 100": status("099"),
  "8.3.2: :status with a sign": status("+200"),
  "8.3.2: :status with a reason": status("200 OK"),
  "8.6: status 101": (peer, id) => peer.head(id, 101),
  "10.5.1: a head above the limit when decoded (a bomb)": (_, id) =>
    frame(
      FrameType.headers,
      WHOLE,
      id,
      Buffer.concat([
        Buffer.from([0x88, 0x40, 1, 0x62, 0x7f, 0xd1, 0x0e]),
        Buffer.alloc(2000, 0x79),
        Buffer.alloc(5000, 0xbe),
      ]),
    ),
  "6.3: PRIORITY of four bytes": [
    (_, id) => frame(FrameType.priority, 0, id, fill(4)),
    frameSizeError,
  ],
  "6.9: a WINDOW_UPDATE of nothing on the stream": (_, id) =>
    frame(FrameType.windowUpdate, 0, id, uint32(0)),
  "6.9.1: a window that overflows on the stream": [
    (_, id) => frame(FrameType.windowUpdate, 0, id, uint32(0x7fffffff)),
    flowControlError,
  ],
};

for (const kind of kinds) {
  describe(`a connection error is 502 upstream-invalid and GOAWAY with the code, ${where[kind]}:`, () => {
    for (const [name, [bytes, code]] of Object.entries(broken))
      test(name, async () => {
        const before = await counted(code);
        const peers: FramePeer[] = [];
        let isBroken = true;
        await using lane = await laneOf(kind, async (peer) => {
          peers.push(peer);
          for (let request = await peer.request(); request !== null; request = await peer.request())
            peer.send(isBroken ? bytes(peer, request.id) : peer.ok(request.id, "better"));
        });
        using client = await asking(lane);
        let answer = await client.response();
        while (answer.status < 200) answer = await client.response();
        assert.equal(answer.status, 502);
        assert.equal(answer.code, "upstream-invalid");
        assert.equal(errorName(await goawayCode(peers[0]!)), errorName(code));
        await peers[0]!.connection.untilEnded();
        isBroken = false;
        await client.send(lane.head("GET /again"));
        assert.equal((await client.response()).body, "better");
        await isTold(lane, code, before);
      });
  });

  describe(`a malformed answer is 502 upstream-invalid, and the connection goes on, ${where[kind]}:`, () => {
    for (const [name, rule] of Object.entries(malformed))
      test(name, async () => {
        const [bytes, code] = typeof rule === "function" ? [rule, protocolError] : rule;
        const before = await counted(code);
        await using lane = await laneOf(kind, async (peer) => {
          const first = (await peer.request())!;
          peer.send(bytes(peer, first.id));
          const reset = await peer.frame("RST_STREAM", (one) => one.type === FrameType.rstStream);
          assert.equal(errorName(readUint32(reset.payload, 0)), errorName(code));
          const second = (await peer.request())!;
          peer.send(peer.ok(second.id, "better"));
        });
        using client = await asking(lane);
        let answer = await client.response();
        while (answer.status < 200) answer = await client.response();
        assert.equal(answer.status, 502);
        assert.equal(answer.code, "upstream-invalid");
        await client.send(lane.head("GET /again"));
        assert.equal((await client.response()).body, "better");
        assert.equal(lane.origin.connections.length, 1);
        assert.doesNotMatch(client.text, /evil/);
        assert.deepEqual(lane.origin.failures, []);
        await isTold(lane, code, before);
      });
  });

  describe(`an endpoint that does not begin with SETTINGS (section 3.4), ${where[kind]}:`, () => {
    for (const [name, first, code] of [
      ["a PING", frame(FrameType.ping, 0, 0, fill(8)), protocolError],
      ["an acknowledgement of SETTINGS", frame(FrameType.settings, Flag.ack, 0), protocolError],
      ["HEADERS", frame(FrameType.headers, WHOLE, 1, OK), protocolError],
      ["the preface of a client", clientPreface, frameSizeError],
      ["an answer in HTTP/1.1", Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n"), frameSizeError],
    ] as const)
      test(name, async () => {
        const before = await counted(code);
        const peers: FramePeer[] = [];
        await using lane = await laneOf(
          kind,
          (peer) => {
            peers.push(peer);
            peer.send(first);
          },
          null,
        );
        using client = await asking(lane);
        assert.equal((await client.response()).code, "upstream-invalid");
        assert.equal(errorName(await goawayCode(peers[0]!)), errorName(code));
        await isTold(lane, code, before);
      });
  });

  describe(`what comes behind a whole answer does not touch it, ${where[kind]}:`, () => {
    const late: Record<string, readonly [bytes: Bytes, code: number, ends: boolean]> = {
      "5.1: WINDOW_UPDATE, RST_STREAM and PRIORITY are ignored": [
        (peer, id) =>
          Buffer.concat([
            frame(FrameType.windowUpdate, 0, id, uint32(1)),
            peer.reset(id, 0),
            frame(FrameType.priority, 0, id, Buffer.from([0, 0, 0, 0, 16])),
          ]),
        0,
        false,
      ],
      "5.1: DATA is a stream error STREAM_CLOSED": [
        (peer, id) => peer.data(id, "late"),
        streamClosed,
        false,
      ],
      "5.1: HEADERS are a connection error STREAM_CLOSED": [
        (_, id) => whole(id, ["x-late", "1"]),
        streamClosed,
        true,
      ],
      "5.4.2: a flood of RST_STREAM is ENHANCE_YOUR_CALM": [
        (peer, id) => many(10_000, peer.reset(id, 8)),
        enhanceYourCalm,
        true,
      ],
    };
    for (const [name, [bytes, code, ends]] of Object.entries(late))
      test(name, async () => {
        const before = await counted(code);
        const peers: FramePeer[] = [];
        await using lane = await laneOf(kind, async (peer) => {
          peers.push(peer);
          for (let one = await peer.request(); one !== null; one = await peer.request()) {
            peer.send(peer.ok(one.id, "whole"));
            if (one.id === 1 && peer.connection.index === 0) peer.send(bytes(peer, one.id));
          }
        });
        using client = await asking(lane);
        assert.equal((await client.response()).body, "whole");
        if (ends) {
          assert.equal(errorName(await goawayCode(peers[0]!)), errorName(code));
          await peers[0]!.connection.untilEnded();
        } else if (code !== 0) {
          const isReset = (one: { type: number }): boolean => one.type === FrameType.rstStream;
          const { payload } = await peers[0]!.frame("RST_STREAM", isReset);
          assert.equal(errorName(readUint32(payload, 0)), errorName(code));
        }
        await client.send(lane.head("GET /again"));
        assert.equal((await client.response()).body, "whole");
        assert.equal(lane.origin.connections.length, ends ? 2 : 1);
        if (code !== 0) await isTold(lane, code, before);
      });
  });

  test(`6.9.1: more than the windows is FLOW_CONTROL_ERROR while the caller reads nothing, ${where[kind]}`, async () => {
    const before = await counted(flowControlError);
    const told = Promise.withResolvers<number>();
    await using lane = await laneOf(kind, async (peer) => {
      const { id } = (await peer.request())!;
      peer.send(peer.head(id, 200));
      const chunk = many(32, peer.data(id, fill(16_384)));
      const error = (): number | null => {
        for (const { type, payload } of peer.frames) {
          if (type === FrameType.goaway) return readUint32(payload, 4);
          if (type === FrameType.rstStream) return readUint32(payload, 0);
        }
        return null;
      };
      while (error() === null && !peer.connection.closed)
        await new Promise((resolve) => peer.connection.socket.write(chunk, resolve));
      told.resolve(error() ?? -1);
    });
    using client = await asking(lane);
    client.socket.pause();
    assert.equal(errorName(await within("an error", told.promise)), "FLOW_CONTROL_ERROR");
    await isTold(lane, flowControlError, before);
  });

  describe(`what means nothing is ignored, ${where[kind]}:`, () => {
    const ignored: Record<string, Bytes> = {
      "4.1: a frame of an unknown type": () =>
        Buffer.concat([frame(0xfa, 0xff, 0, fill(9)), frame(0xfb, 0, 1, fill(1))]),
      "4.1: flags that mean nothing": () => frame(FrameType.ping, 0x16, 0, fill(8)),
      "4.1: the reserved bit": () => {
        const sent = frame(FrameType.ping, 0, 0, fill(8));
        sent[5] = 0x80;
        return sent;
      },
      "5.1: PRIORITY on an idle stream": () =>
        frame(FrameType.priority, 0, 99, Buffer.from([0, 0, 0, 0, 16])),
      "6.5.2: an unknown setting": () => settings(0xff, 7),
      "6.5.2: ENABLE_PUSH of 0": () => settings(Setting.enablePush, 0),
      "6.9: the reserved bit of an increment": (_, id) =>
        frame(FrameType.windowUpdate, 0, id, uint32(0x80000001)),
      "RFC 8336: ORIGIN": () => frame(0x0c, 0, 0, fill(20)),
      "RFC 7838: ALTSVC": () => frame(0x0a, 0, 0, fill(20)),
    };
    for (const [name, bytes] of Object.entries(ignored))
      test(name, async () => {
        await using lane = await laneOf(kind, async (peer) => {
          const { id } = (await peer.request())!;
          peer.send(bytes(peer, id), peer.ok(id, "fine"));
        });
        using client = await asking(lane);
        assert.equal((await client.response()).body, "fine");
        assert.equal(lane.origin.connections.length, 1);
      });

    test("6.1 and 6.2: padding and priority are not part of what they come with", async () => {
      await using lane = await laneOf(kind, async (peer) => {
        const { id } = (await peer.request())!;
        const head = block([":status", "200"], ["content-length", "4"]);
        const flags = HEAD | Flag.padded | Flag.priority;
        peer.send(
          frame(
            FrameType.headers,
            flags,
            id,
            Buffer.concat([Buffer.from([3, 0, 0, 0, 0, 16]), head, Buffer.alloc(3)]),
          ),
          frame(
            FrameType.data,
            Flag.padded | Flag.endStream,
            id,
            Buffer.concat([Buffer.from([200]), Buffer.from("data"), Buffer.alloc(200)]),
          ),
        );
      });
      using client = await asking(lane);
      assert.equal((await client.response()).body, "data");
    });

    test("4.3: a head in pieces of one byte is one head", async () => {
      await using lane = await laneOf(kind, async (peer) => {
        const { id } = (await peer.request())!;
        const head = block([":status", "200"]);
        peer.send(frame(FrameType.headers, 0, id, head.subarray(0, 1)));
        for (let i = 1; i < head.length; i++)
          peer.send(frame(FrameType.continuation, 0, id, head.subarray(i, i + 1)));
        peer.send(frame(FrameType.continuation, HEAD, id), peer.data(id, "x", Flag.endStream));
      });
      using client = await asking(lane);
      assert.equal((await client.response()).body, "x");
    });
  });
}
