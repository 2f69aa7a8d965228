/** Bytes of HTTP/2 for the codecs to read: made-up frames, recorded sessions, both damaged, and a transport without a socket. */

import fs from "node:fs";
import path from "node:path";
import fc from "fast-check";
import { FrameReader } from "../../proxy/http2/frames.ts";
import { HpackDecoder } from "../../proxy/http2/hpack-decoder.ts";
import type { Transport, TransportHandler } from "../../proxy/listen/transport.ts";
import { block, frame, uint32, type Frame } from "../proxy/http2/frame-client.ts";
import { root } from "../support/source-tree.ts";

/** A session of real programs (node:http2, curl, nghttp, h2load with a node:http2 server), as a relay between them saw it. */
export interface Capture {
  readonly name: string;
  /** Everything that the caller sent. */
  readonly caller: Buffer;
  readonly endpoint: Buffer;
}

export const captures: readonly Capture[] = (
  JSON.parse(fs.readFileSync(path.join(root, "test/fuzz/http2-captures.json"), "utf8")) as {
    readonly name: string;
    readonly caller: string;
    readonly endpoint: string;
  }[]
).map(({ name, caller, endpoint }) => ({
  name,
  caller: Buffer.from(caller, "base64"),
  endpoint: Buffer.from(endpoint, "base64"),
}));

/** What bytes become that were only lent. */
export const WIPED = 0xee;

/** Ascending positions at which bytes are cut; or each byte alone. */
export type Cuts = readonly number[] | "bytes";

/** A socket that takes everything at once; what a codec uses of a {@link Transport}. */
export class Wire {
  handler: TransportHandler | null = null;
  readonly written: Buffer[] = [];
  isCut = false;
  readonly writableBytes = 0;
  readonly needsDrain = false;
  readonly socket = {};

  write(data: string | Uint8Array): boolean {
    this.written.push(Buffer.from(data as Uint8Array));
    return true;
  }

  destroy(): void {
    this.isCut = true;
  }

  end(): void {}
  pause(): void {}
  resume(): void {}
  cork(): void {}
  uncork(): void {}

  get transport(): Transport {
    return this as unknown as Transport;
  }

  /** Hands over `bytes` in the pieces that `cuts` make; each lies in a buffer that is used again. */
  deliver(bytes: Buffer, cuts: Cuts): void {
    const shared = Buffer.alloc(bytes.length);
    const ends = cuts === "bytes" ? Array.from(bytes, (_, i) => i + 1) : cuts;
    let from = 0;
    for (const to of [...ends.filter((cut) => cut < bytes.length), bytes.length]) {
      if (this.isCut) return;
      const piece = shared.subarray(0, bytes.copy(shared, 0, from, to));
      this.handler!.onData(piece);
      // nobody may keep it
      piece.fill(WIPED);
      from = to;
    }
  }

  /** What was written, as frames. Throws when it is not made of whole, decodable frames. */
  frames(skip = 0): Frame[] {
    return readFrames(Buffer.concat(this.written).subarray(skip));
  }
}

/** Reads bytes that must be whole frames. */
export function readFrames(bytes: Buffer): Frame[] {
  const frames: Frame[] = [];
  const decoder = new HpackDecoder(65_536);
  let held: Buffer[] = [];
  const reader = new FrameReader();
  reader.read(Buffer.from(bytes), {
    onFrame(type, flags, streamId, buf, start, end) {
      const payload = Buffer.from(buf.subarray(start, end));
      const fields: [string, string][] = [];
      if (type === 1 || type === 9) {
        held.push(payload);
        if ((flags & 4) !== 0) {
          const whole = Buffer.concat(held);
          held = [];
          const onLine = (line: { name: { text: string }; value: string }): void =>
            void fields.push([line.name.text, line.value]);
          if (!decoder.decode(whole, 0, whole.length, { onLine }))
            throw new Error("a block that cannot be decoded");
        }
      }
      frames.push({ type, flags, streamId, payload, fields });
      return true;
    },
    onOversized() {
      throw new Error("a frame above the limit");
    },
  });
  if (!reader.isEmpty) throw new Error("half a frame");
  return frames;
}

/** What frames say, whatever HPACK makes of their fields. */
export function meaning(frames: readonly Frame[]): string[] {
  return frames.map(({ type, flags, streamId, payload, fields }) => {
    const content = type === 1 || type === 9 ? JSON.stringify(fields) : payload.toString("hex");
    return `${type}/${flags}#${streamId} ${content}`;
  });
}

const request = (method: string, target: string, ...more: [string, string][]): Buffer =>
  block(
    [":method", method],
    [":scheme", "http"],
    [":path", target],
    [":authority", "a.test"],
    ...more,
  );

/** Blocks that a caller sends, and an endpoint, right and wrong. */
const callerBlocks = [
  request("GET", "/"),
  request("GET", "/large"),
  request("GET", "/early"),
  request("GET", "/cut"),
  request("POST", "/"),
  request("POST", "/trailers"),
  request("POST", "/", ["content-length", "5"]),
  request("HEAD", "/large"),
  request("CONNECT", "/", [":protocol", "websocket"]),
  request("GET", "/", ["X-Up", "1"]),
  request("GET", "/", ["x", "y".repeat(3000)]),
  Buffer.from([0x82, 0x86, 0x84, 0x41, 1, 0x61]),
  Buffer.from([0x82, 0x86, 0x84, 0xbe]),
];
const endpointBlocks = [
  block([":status", "200"]),
  block([":status", "200"], ["content-length", "5"]),
  block([":status", "103"], ["link", "</a>"]),
  block([":status", "204"]),
  block([":status", "101"]),
  block([":status", "200"], ["X-Up", "1"]),
  block([":status", "200"], ["grpc-status", "5"]),
  Buffer.from([0x88, 0x40, 1, 0x61, 1, 0x62]),
  Buffer.from([0x88, 0xbe]),
];
const trailers = [block(["x-sum", "1"]), block([":path", "/"]), block(["connection", "close"])];

const streamId = fc.constantFrom(0, 1, 1, 1, 3, 3, 3, 5, 5, 7, 2, 99, 0x7fffffff);
const bytesOf = (maxLength: number): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ maxLength }).map((bytes) => Buffer.from(bytes));
const text = fc.constantFrom(0, 1, 5, 100, 16_384).map((length) => Buffer.alloc(length, "x"));
const number = fc
  .constantFrom(0, 1, 8, 100, 65_535, 0x7fffffff, 0x80000000, 0xffffffff)
  .map(uint32);
const setting = fc
  .tuple(
    fc.constantFrom(1, 2, 3, 4, 5, 6, 8, 9, 77),
    fc.constantFrom(0, 1, 2, 100, 4096, 16_384, 65_535, 0x7fffffff, 0xffffffff),
  )
  .map(([id, value]) => Buffer.concat([Buffer.from([0, id]), uint32(value)]));

/** A frame whose payload mostly fits its type. */
function frameFrom(blocks: readonly Buffer[]): fc.Arbitrary<Buffer> {
  const head = (flags: fc.Arbitrary<number>): fc.Arbitrary<Buffer> =>
    fc
      .tuple(flags, streamId, fc.constantFrom(...blocks, ...trailers))
      .map(([flag, id, content]) => {
        const padded = (flag & 8) !== 0 ? [Buffer.from([3])] : [];
        const priority = (flag & 32) !== 0 ? [Buffer.from([0, 0, 0, 0, 16])] : [];
        const after = (flag & 8) !== 0 ? [Buffer.alloc(3)] : [];
        return frame(1, flag, id, Buffer.concat([...padded, ...priority, content, ...after]));
      });
  const split = fc
    .tuple(
      fc.constantFrom(0, 1),
      streamId,
      fc.constantFrom(...blocks, ...trailers),
      fc.array(fc.nat(60), { minLength: 1, maxLength: 3 }),
    )
    .map(([flag, id, content, sizes]) => {
      const parts: Buffer[] = [];
      let at = 0;
      for (const size of sizes) {
        parts.push(
          frame(
            parts.length === 0 ? 1 : 9,
            parts.length === 0 ? flag : 0,
            id,
            content.subarray(at, at + size),
          ),
        );
        at += size;
      }
      return Buffer.concat([...parts, frame(9, 4, id, content.subarray(at))]);
    });
  const data = fc
    .tuple(fc.constantFrom(0, 0, 1, 1), streamId, text)
    .map(([flag, id, content]) => frame(0, flag, id, content));
  const whole = (type: number, payload: fc.Arbitrary<Buffer>): fc.Arbitrary<Buffer> =>
    fc
      .tuple(fc.constantFrom(0, 0, 0, 1), streamId, payload)
      .map(([flag, id, content]) => frame(type, flag, id, content));
  const onZero = (type: number, payload: fc.Arbitrary<Buffer>): fc.Arbitrary<Buffer> =>
    fc
      .tuple(fc.constantFrom(0, 0, 0, 1), payload)
      .map(([flag, content]) => frame(type, flag, 0, content));
  return fc.oneof(
    { weight: 8, arbitrary: head(fc.constantFrom(5, 5, 5, 4, 4, 0, 1, 13, 37)) },
    { weight: 3, arbitrary: split },
    { weight: 6, arbitrary: data },
    { weight: 1, arbitrary: whole(0, bytesOf(30)).map((one) => ((one[4] = 9), one)) },
    { weight: 3, arbitrary: fc.oneof(whole(8, number), onZero(8, number)) },
    { weight: 2, arbitrary: whole(3, number) },
    {
      weight: 2,
      arbitrary: onZero(
        4,
        fc.array(setting, { maxLength: 3 }).map((list) => Buffer.concat(list)),
      ),
    },
    { weight: 1, arbitrary: onZero(6, fc.constant(Buffer.from("12345678"))) },
    { weight: 1, arbitrary: whole(2, fc.constant(Buffer.from([0, 0, 0, 0, 16]))) },
    {
      weight: 1,
      arbitrary: onZero(
        7,
        fc.tuple(number, number).map((two) => Buffer.concat(two)),
      ),
    },
    { weight: 2, arbitrary: whole(9, fc.constantFrom(...blocks, Buffer.alloc(0))) },
    {
      weight: 1,
      arbitrary: fc
        .tuple(
          fc.integer({ min: 0, max: 20 }),
          fc.integer({ min: 0, max: 255 }),
          streamId,
          bytesOf(40),
        )
        .map(([type, flags, id, payload]) => frame(type, flags, id, payload)),
    },
  );
}

const openings = fc.constantFrom(
  frame(4, 0, 0),
  frame(4, 0, 0, Buffer.concat([Buffer.from([0, 4]), uint32(0)])),
  frame(4, 0, 0, Buffer.concat([Buffer.from([0, 4]), uint32(10)])),
  frame(4, 0, 0, Buffer.concat([Buffer.from([0, 1]), uint32(0)])),
);

/** Frames of a caller behind its preface, or of an endpoint. */
export function framesOf(side: "caller" | "endpoint"): fc.Arbitrary<Buffer> {
  const blocks = side === "caller" ? callerBlocks : endpointBlocks;
  const many = fc.array(frameFrom(blocks), { maxLength: 25 });
  return fc.tuple(openings, many).map(([first, rest]) => Buffer.concat([first, ...rest]));
}

/** A recorded session with up to five pieces changed, lost, doubled or put in. */
export function mutated(side: "caller" | "endpoint"): fc.Arbitrary<Buffer> {
  const edit = fc.record({
    at: fc.nat(4000),
    drop: fc.nat(20),
    put: fc.oneof(fc.constant(Buffer.alloc(0)), bytesOf(12)),
    repeat: fc.boolean(),
  });
  const one = fc.constantFrom(...captures.map((capture) => capture[side]));
  return fc.tuple(one, fc.array(edit, { maxLength: 5 })).map(([session, edits]) => {
    let changed: Buffer = session;
    for (const { at, drop, put, repeat } of edits) {
      const place = at % (changed.length + 1);
      const rest = changed.subarray(repeat ? place : place + drop);
      const more = repeat ? changed.subarray(place, place + drop) : put;
      changed = Buffer.concat([changed.subarray(0, place), more, rest]);
    }
    return changed;
  });
}

export const pieces: fc.Arbitrary<Cuts> = fc.oneof(
  fc.constant("bytes" as const),
  fc
    .uniqueArray(fc.integer({ min: 1, max: 3000 }), { maxLength: 12 })
    .map((list) => list.sort((a, b) => a - b)),
);
