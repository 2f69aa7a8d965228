/** HPACK beside the one of node:http2 (nghttp2), in both directions: encoded by one and decoded by the other, and damaged blocks judged by both. */

import assert from "node:assert/strict";
import http2 from "node:http2";
import { duplexPair, type Duplex } from "node:stream";
import fc from "fast-check";
import { clientPreface, FrameReader, readUint32 } from "../../proxy/http2/frames.ts";
import { Line, nameOf } from "../../proxy/http2/field-names.ts";
import { HpackDecoder } from "../../proxy/http2/hpack-decoder.ts";
import { HpackEncoder } from "../../proxy/http2/hpack-encoder.ts";
import { block, frame, uint32 } from "../proxy/http2/frame-client.ts";
import type { FuzzProperty } from "./property.ts";

type Pair = readonly [string, string];

const COMPRESSION_ERROR = 9;

/** Names that tables know, ones that they do not, and ones that must not be kept. */
const name = fc.oneof(
  fc.constantFrom("accept", "cookie", "x-id", "via", "set-cookie", "cache-control"),
  fc.stringMatching(/^x[a-z0-9_.~!#$%&'*+^`|-]{0,20}$/),
);
/** Values as two strict parsers take them: no white space around, nothing below 0x20. */
const value = fc
  .string({ maxLength: 60, unit: fc.constantFrom(...'abcXYZ019 ,;:="/()<>@\x80\xe9\xff~{}') })
  .map((text) => text.trim());
const pairs = fc.array(fc.tuple(name, fc.oneof(value, fc.constantFrom("a", "b"))), {
  maxLength: 12,
});
/** Of the encoder's table, before a block; mostly none. */
const tableBytes = fc.option(fc.constantFrom(0, 32, 100, 1000, 4096, 10_000), { freq: 3 });

const wanted = ([one]: Pair): boolean => !one.startsWith(":");
const own: readonly Pair[] = [
  [":method", "GET"],
  [":scheme", "http"],
  [":path", "/"],
  [":authority", "a.test"],
];

function encode(encoder: HpackEncoder, fields: readonly Pair[]): Buffer {
  const size = fields.reduce(
    (sum, [n, v]) => sum + HpackEncoder.bound(n.length + v.length + 2),
    64,
  );
  const out = Buffer.alloc(size);
  let at = encoder.begin(out, 0);
  for (const [n, v] of fields) at = encoder.field(out, at, n, v);
  return out.subarray(0, at);
}

function decode(decoder: HpackDecoder, bytes: Buffer): Pair[] | null {
  const read: Pair[] = [];
  const onLine = (line: { name: { text: string }; value: string }): void =>
    void read.push([line.name.text, line.value]);
  return decoder.decode(bytes, 0, bytes.length, { onLine }) ? read : null;
}

/** What node:http2 made of a row of blocks, each the head of a request. */
interface NodeReading {
  /** Fields of the requests that it took, by stream. */
  readonly taken: ReadonlyMap<number, Pair[]>;
  /** The session ended over HPACK. */
  readonly isRefused: boolean;
}

/** Hands blocks to a server session of node:http2. */
async function readByNode(blocks: readonly Buffer[]): Promise<NodeReading> {
  const [near, far] = duplexPair();
  const taken = new Map<number, Pair[]>();
  const session = http2.performServerHandshake(far, { maxHeaderListPairs: 1000 });
  session.on("error", () => {});
  session.on("stream", (stream, _headers, _flags, raw: string[]) => {
    const list: Pair[] = [];
    for (let i = 0; i < raw.length; i += 2) list.push([raw[i]!, raw[i + 1]!]);
    taken.set(stream.id!, list);
    stream.on("error", () => {});
    stream.close();
  });
  let isRefused = false;
  const done = settled(near, (code) => (isRefused = code === COMPRESSION_ERROR));
  const heads = blocks.map((bytes, i) => frame(1, 5, i * 2 + 1, bytes));
  near.write(
    Buffer.concat([clientPreface, frame(4, 0, 0), ...heads, frame(6, 0, 0, Buffer.alloc(8))]),
  );
  await done;
  session.destroy();
  near.destroy();
  return { taken, isRefused };
}

/** Resolves when a PING has come back, or GOAWAY with an error, whose code is told. */
function settled(near: Duplex, onError: (code: number) => void): Promise<void> {
  return new Promise((resolve) => {
    const reader = new FrameReader();
    near.on("data", (chunk: Buffer) =>
      reader.read(chunk, {
        onFrame(type, flags, _streamId, buf, start) {
          if (type === 7 && readUint32(buf, start + 4) !== 0) {
            onError(readUint32(buf, start + 4));
            resolve();
          } else if (type === 6 && (flags & 1) !== 0) resolve();
          return true;
        },
        onOversized() {},
      }),
    );
    near.on("close", resolve);
  });
}

/** What our encoder writes, nghttp2 reads as it was, through changes of the table's size. */
const encodedHere = fc.asyncProperty(
  fc.array(pairs, { minLength: 1, maxLength: 6 }),
  async (rounds) => {
    const encoder = new HpackEncoder();
    const decoder = new HpackDecoder();
    const blocks = rounds.map((fields) => encode(encoder, [...own, ...fields]));
    const { taken, isRefused } = await readByNode(blocks);
    assert.equal(isRefused, false);
    for (const [i, fields] of rounds.entries()) {
      assert.deepEqual(decode(decoder, blocks[i]!), [...own, ...fields]);
      // a request that breaks other rules than those of HPACK is not shown
      const seen = taken.get(i * 2 + 1);
      if (seen !== undefined) assert.deepEqual(seen.filter(wanted), fields);
    }
  },
);

/** Blocks of our own decoder, through changes of the table's size that node:http2 cannot be told of. */
const resized = fc.asyncProperty(
  fc.array(fc.tuple(pairs, tableBytes), { maxLength: 10 }),
  async (rounds) => {
    const encoder = new HpackEncoder();
    const decoder = new HpackDecoder();
    for (const [fields, limit] of rounds) {
      if (limit !== null) encoder.setLimit(limit);
      assert.deepEqual(decode(decoder, encode(encoder, fields)), fields);
    }
  },
);

/** What nghttp2 writes, with whatever table it is allowed, our decoder reads as it was. */
const encodedThere = fc.asyncProperty(
  fc.array(fc.tuple(pairs, fc.boolean()), { minLength: 1, maxLength: 6 }),
  fc.constantFrom(0, 64, 200, 4096),
  async (rounds, limit) => {
    const [near, far] = duplexPair();
    const session = http2.connect("http://a.test", { createConnection: () => far });
    session.on("error", () => {});
    const decoder = new HpackDecoder(4096);
    const heads: Pair[][] = [];
    const reader = new FrameReader();
    let skip = clientPreface.length;
    let acknowledged = false;
    let wake: () => void = () => {};
    near.on("data", (chunk: Buffer) => {
      const n = Math.min(skip, chunk.length);
      skip -= n;
      reader.read(chunk.subarray(n), {
        onFrame(type, flags, _streamId, buf, start, end) {
          if (type === 4 && (flags & 1) !== 0) acknowledged = true;
          if (type === 1) {
            const read = decode(decoder, Buffer.from(buf.subarray(start, end)));
            assert.notEqual(read, null);
            heads.push(read!);
          }
          wake();
          return true;
        },
        onOversized() {},
      });
    });
    const until = async (check: () => boolean): Promise<void> => {
      while (!check()) await new Promise<void>((resolve) => (wake = resolve));
    };
    near.write(frame(4, 0, 0, Buffer.concat([Buffer.from([0, 1]), uint32(limit)])));
    await until(() => acknowledged);
    for (const [i, [fields, isSecret]] of rounds.entries()) {
      const raw = [...own, ...fields].flat();
      const headers = Object.assign(raw, {
        [http2.sensitiveHeaders]: isSecret ? fields.map(([one]) => one) : [],
      });
      const stream = session.request(headers as unknown as http2.OutgoingHttpHeaders, {
        endStream: true,
      });
      stream.on("error", () => {});
      await until(() => heads.length > i);
      assert.deepEqual(heads[i]!.filter(wanted), fields);
      assert.ok(decoder.tableBytes <= limit);
    }
    session.destroy();
    near.destroy();
  },
);

const isValid = ([n, v]: Pair): boolean => new Line(nameOf(n), v).fault === null;

/** Instructions of HPACK, right and wrong, and bytes. */
const instruction = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: 0x80, max: 0xff }).map((n) => Buffer.from([n])) },
  {
    weight: 4,
    arbitrary: fc.tuple(fc.constantFrom(0x40, 0x00, 0x10), name, value).map(([kind, n, v]) => {
      const text = block([n, v]);
      text[0] = kind;
      return text;
    }),
  },
  {
    weight: 3,
    arbitrary: fc
      .tuple(fc.constantFrom(0x40, 0x00, 0x10), fc.integer({ min: 1, max: 14 }), value)
      .map(([kind, index, v]) => {
        const text = block(["", v]);
        return Buffer.concat([Buffer.from([kind | index]), text.subarray(2)]);
      }),
  },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom("20", "3f e1 1f", "3f e2 1f", "21", "ff 80 01", "7f 00", "00 01 61 81 1f")
      .map((text) => Buffer.from(text.replaceAll(" ", ""), "hex")),
  },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 6 }).map((bytes) => Buffer.from(bytes)) },
);

/** Blocks of any instructions, some of them damaged: refused by both, or read alike. */
const judged = fc.asyncProperty(
  fc.array(fc.array(instruction, { maxLength: 8 }), { minLength: 1, maxLength: 4 }),
  fc.array(fc.tuple(fc.nat(200), fc.nat(255)), { maxLength: 2 }),
  async (rounds, changes) => {
    const blocks = rounds.map((parts) => Buffer.concat([block(...own), ...parts]));
    for (const [at, byte] of changes) {
      const one = blocks[at % blocks.length]!;
      one[at % one.length] = byte;
    }
    const decoder = new HpackDecoder();
    const here = blocks.map((bytes) => decode(decoder, bytes));
    const refusedAt = here.indexOf(null);
    const { taken, isRefused } = await readByNode(blocks);
    assert.equal(isRefused, refusedAt !== -1, `block ${refusedAt}`);
    // nghttp2 leaves out single fields with characters that no field may have
    for (const [id, list] of taken)
      assert.deepEqual(here[(id - 1) / 2]!.filter(isValid), list.filter(isValid));
  },
);

export const hpackProperties: readonly FuzzProperty[] = [
  { name: "HPACK: what weft encodes, nghttp2 decodes", runs: 150, property: encodedHere },
  { name: "HPACK: tables change their size in step", runs: 500, property: resized },
  { name: "HPACK: what nghttp2 encodes, weft decodes", runs: 150, property: encodedThere },
  { name: "HPACK: damaged blocks are judged as nghttp2 does", runs: 300, property: judged },
];
