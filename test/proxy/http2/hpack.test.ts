/** HPACK: the examples of RFC 7541, its rules as raw blocks, and agreement with node:http2 both ways. */

import assert from "node:assert/strict";
import { once } from "node:events";
import http2 from "node:http2";
import net from "node:net";
import { describe, test } from "node:test";
import fc from "fast-check";
import { HpackDecoder, hpackFailure } from "../../../proxy/http2/hpack-decoder.ts";
import { HpackEncoder } from "../../../proxy/http2/hpack-encoder.ts";
import { huffmanDecode, huffmanEncode, huffmanLength } from "../../../proxy/http2/huffman.ts";
import { Flag, FrameClient, block, frame, integer } from "./frame-client.ts";

type Pair = readonly [string, string];

function decode(decoder: HpackDecoder, bytes: Uint8Array): Pair[] | null {
  const pairs: Pair[] = [];
  const buf = Buffer.from(bytes);
  const whole = decoder.decode(buf, 0, buf.length, {
    onLine: (line) => void pairs.push([line.name.text, line.value]),
  });
  return whole ? pairs : null;
}

function encode(encoder: HpackEncoder, pairs: readonly Pair[]): Buffer {
  const out = Buffer.alloc(
    64 + pairs.reduce((sum, [n, v]) => sum + HpackEncoder.bound(n.length + v.length + 2), 0),
  );
  let at = encoder.begin(out, 0);
  for (const [name, value] of pairs) at = encoder.field(out, at, name, value);
  return out.subarray(0, at);
}

/** A block of lines as a head of HTTP/1.1 has them, any white space behind the colon. @returns where it ends */
function writeLoosely(encoder: HpackEncoder, out: Buffer, text: string): number {
  let at = encoder.begin(out, 0);
  for (const { index, 0: line, 1: name, 2: gap } of text.matchAll(/(\w+)(:[ \t]*)[^\r]*/g)) {
    const nameEnd = index + name!.length;
    at = encoder.line(out, at, text, index, nameEnd, nameEnd + gap!.length, index + line.length);
  }
  return at;
}

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(" ", ""), "hex");

describe("Huffman", () => {
  test("RFC 7541 appendix C: the examples, both ways", () => {
    for (const [text, coded] of [
      ["www.example.com", "f1e3 c2e5 f23a 6ba0 ab90 f4ff"],
      ["no-cache", "a8eb 1064 9cbf"],
      ["custom-key", "25a8 49e9 5ba9 7d7f"],
      ["custom-value", "25a8 49e9 5bb8 e8b4 bf"],
      ["302", "6402"],
      ["private", "aec3 771a 4b"],
      ["Mon, 21 Oct 2013 20:13:21 GMT", "d07a be94 1054 d444 a820 0595 040b 8166 e082 a62d 1bff"],
      ["https://www.example.com", "9d29 ad17 1863 c78f 0b97 c8e9 ae82 ae43 d3"],
    ] as const) {
      const bytes = hex(coded);
      assert.equal(huffmanDecode(bytes, 0, bytes.length), text);
      assert.equal(huffmanLength(text), bytes.length);
      const out = Buffer.alloc(bytes.length);
      assert.equal(huffmanEncode(text, out, 0), bytes.length);
      assert.deepEqual(out, bytes);
    }
  });

  test("any octets come back as they were", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (octets) => {
        const text = Buffer.from(octets).toString("latin1");
        const out = Buffer.alloc(huffmanLength(text));
        assert.equal(huffmanEncode(text, out, 0), out.length);
        assert.equal(huffmanDecode(out, 0, out.length), text);
      }),
      { numRuns: 300 },
    );
  });

  test("5.2: padding of more than seven bits, padding with zeros, and EOS are refused", () => {
    assert.equal(huffmanDecode(hex("1fff"), 0, 2), null);
    assert.equal(huffmanDecode(hex("18"), 0, 1), null);
    assert.equal(huffmanDecode(hex("fffffffc"), 0, 4), null);
    assert.equal(huffmanDecode(hex("1f"), 0, 1), "a");
  });
});

describe("RFC 7541 appendix C", () => {
  const request = [
    [":method", "GET"],
    [":scheme", "http"],
    [":path", "/"],
    [":authority", "www.example.com"],
  ] as const;
  const third = [
    [":method", "GET"],
    [":scheme", "https"],
    [":path", "/index.html"],
    [":authority", "www.example.com"],
    ["custom-key", "custom-value"],
  ] as const;

  test("C.2: single fields", () => {
    const decoder = new HpackDecoder();
    assert.deepEqual(
      decode(decoder, hex("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572")),
      [["custom-key", "custom-header"]],
    );
    assert.equal(decoder.tableBytes, 55);
    assert.deepEqual(decode(new HpackDecoder(), hex("040c 2f73 616d 706c 652f 7061 7468")), [
      [":path", "/sample/path"],
    ]);
    assert.deepEqual(
      decode(new HpackDecoder(), hex("1008 7061 7373 776f 7264 0673 6563 7265 74")),
      [["password", "secret"]],
    );
    assert.deepEqual(decode(new HpackDecoder(), hex("82")), [[":method", "GET"]]);
  });

  for (const [name, blocks] of [
    [
      "C.3: requests without Huffman",
      [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
      ],
    ],
    [
      "C.4: requests with Huffman",
      [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
      ],
    ],
  ] as const) {
    test(name, () => {
      const decoder = new HpackDecoder();
      assert.deepEqual(decode(decoder, hex(blocks[0])), request);
      assert.equal(decoder.tableBytes, 57);
      assert.deepEqual(decode(decoder, hex(blocks[1])), [
        ...request,
        ["cache-control", "no-cache"],
      ]);
      assert.equal(decoder.tableBytes, 110);
      assert.deepEqual(decode(decoder, hex(blocks[2])), third);
      assert.equal(decoder.tableBytes, 164);
    });
  }

  test("C.6: answers with Huffman and a table of 256 octets that evicts", () => {
    const decoder = new HpackDecoder(256);
    assert.equal(
      decode(
        decoder,
        hex(
          "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        ),
      )!.length,
      4,
    );
    assert.equal(decoder.tableBytes, 222);
    assert.deepEqual(decode(decoder, hex("4883 640e ffc1 c0bf")), [
      [":status", "307"],
      ["cache-control", "private"],
      ["date", "Mon, 21 Oct 2013 20:13:21 GMT"],
      ["location", "https://www.example.com"],
    ]);
    assert.equal(decoder.tableBytes, 222);
    const last = decode(
      decoder,
      hex(
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
      ),
    )!;
    assert.deepEqual(last.at(-1), [
      "set-cookie",
      "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
    ]);
    assert.equal(decoder.tableBytes, 215);
  });
});

describe("what a decoder must refuse", () => {
  const refused = (bytes: Uint8Array, why: RegExp): void => {
    assert.equal(decode(new HpackDecoder(), bytes), null);
    assert.match(hpackFailure, why);
  };
  test("6.1: index 0", () => refused(hex("80"), /index 0/));
  test("2.3.3: an index beyond both tables", () => {
    refused(hex("be"), /index 62/);
    refused(Buffer.concat([integer(4000, 63, 0x40), hex("0161")]), /index 4000/);
  });
  test("4.2: a size update that does not begin the block", () =>
    refused(hex("8220"), /begin the block/));
  test("6.3: a size update above the limit", () =>
    refused(integer(4097, 31, 0x20), /above the limit/));
  test("5.1: an integer that is too large or without end", () => {
    refused(hex("ff ff ff ff ff ff ff ff ff 01"), /too large/);
    refused(hex("ff 80 80 80 80 80 80 80 01"), /too large/);
    refused(hex("ff ff"), /inside a field/);
  });
  test("5.2: a string longer than the block, and an invalid Huffman string", () => {
    refused(hex("00 05 61"), /inside a field/);
    refused(hex("00 01 61 82 1fff"), /Huffman/);
    refused(hex("00"), /inside a field/);
  });
  test("4.4: an entry larger than the table empties it and is no error", () => {
    const decoder = new HpackDecoder(64);
    assert.notEqual(decode(decoder, Buffer.concat([hex("40 01 61 01 62")])), null);
    assert.equal(decoder.tableBytes, 34);
    assert.notEqual(
      decode(decoder, Buffer.concat([hex("40 01 61 40"), Buffer.alloc(64, 0x62)])),
      null,
    );
    assert.equal(decoder.tableBytes, 0);
  });
  test("random bytes are decoded or refused, never thrown on", () => {
    const decoder = new HpackDecoder();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        decode(decoder, bytes);
        assert.ok(decoder.tableBytes <= 4096);
      }),
      { numRuns: 2000 },
    );
  });
});

const token = fc.stringMatching(/^[a-z0-9-]{1,20}$/);
const value = fc
  .array(fc.constantFrom(..."abcdefghij 0123456789;=/é"), { maxLength: 60 })
  .map((chars) => chars.join("").trim());

describe("the encoder", () => {
  test("what it writes comes back, in order, through changes of the table size", () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            pairs: fc.array(fc.tuple(token, value), { maxLength: 20 }),
            limit: fc.option(fc.integer({ min: 0, max: 10_000 })),
          }),
          { maxLength: 30 },
        ),
        (blocks) => {
          const encoder = new HpackEncoder();
          const decoder = new HpackDecoder();
          for (const { pairs, limit } of blocks) {
            if (limit !== null) encoder.setLimit(limit);
            assert.deepEqual(decode(decoder, encode(encoder, pairs)), pairs, hpackFailure);
          }
        },
      ),
      { numRuns: 200 },
    );
  });

  test("names go out in lower case, and a line that repeats is one octet", () => {
    const encoder = new HpackEncoder();
    const decoder = new HpackDecoder();
    const pairs: Pair[] = [["X-Served-By", "one"]];
    assert.deepEqual(decode(decoder, encode(encoder, pairs)), [["x-served-by", "one"]]);
    assert.equal(encode(encoder, pairs).length, 1);
  });

  test("lines that come at other places, with other names or other white space come back as they are", () => {
    const encoder = new HpackEncoder();
    const decoder = new HpackDecoder();
    const out = Buffer.alloc(1024);
    const heads = ["a:bbb\r\n", "a: bb\r\n", "ab:c\r\n", "A:  bb\r\n", "ab: :c\r\n", "a:\t:c\r\n"];
    for (let round = 0; round < 3; round++) {
      for (const lead of ["", "x: 1\r\n", "ab: c\r\n"]) {
        for (const head of heads) {
          const at = writeLoosely(encoder, out, lead + head);
          const end = encoder.field(out, at, "a", ":c");
          const lines: string[] = [];
          assert.ok(decoder.decode(out, 0, end, { onLine: (line) => lines.push(line.text) }));
          const wanted = `${lead}${head}a: :c\r\n`.replaceAll(/^(\w+):[ \t]*/gm, "$1: ");
          assert.equal(lines.join(""), wanted.toLowerCase());
        }
      }
    }
  });

  test("RFC 7541 section 7.1.3: credentials are never indexed", () => {
    const encoder = new HpackEncoder();
    for (const name of ["authorization", "cookie", "Set-Cookie", "proxy-authorization"]) {
      const coded = encode(encoder, [[name, "secret"]]);
      assert.equal(coded[0]! & 0xf0, 0x10);
      assert.deepEqual(encode(encoder, [[name, "secret"]]), coded);
    }
  });

  test("a name whose values never repeat stops filling the table", () => {
    const encoder = new HpackEncoder();
    let indexed = 0;
    for (let i = 0; i < 2000; i++)
      if ((encode(encoder, [["x-unique-for-test", `value-${i}`]])[0]! & 0xc0) === 0x40) indexed++;
    assert.ok(indexed < 300, String(indexed));
  });
});

describe("node:http2", () => {
  test("decodes what the encoder writes", async () => {
    const rounds = fc.sample(fc.array(fc.tuple(token, value), { maxLength: 15 }), {
      numRuns: 40,
      seed: 7,
    });
    const server = http2.createServer();
    const got: Pair[][] = [];
    server.on("stream", (stream: http2.ServerHttp2Stream, _headers, _flags, raw) => {
      const pairs: Pair[] = [];
      for (let i = 0; i < raw.length; i += 2)
        if (raw[i]!.startsWith("x-")) pairs.push([raw[i]!, raw[i + 1]!]);
      got.push(pairs);
      stream.respond({ ":status": 204 }, { endStream: true });
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    using client = await FrameClient.connect((server.address() as net.AddressInfo).port);
    const encoder = new HpackEncoder();
    const want: Pair[][] = [];
    for (const [i, round] of rounds.entries()) {
      const pairs = round.map(([name, text]) => [`x-${name}`, text.replaceAll("é", "e")] as const);
      want.push(pairs);
      const own: Pair[] = [
        [":method", "GET"],
        [":scheme", "http"],
        [":path", `/${i % 3}`],
        [":authority", "a.example"],
        ...pairs,
      ];
      client.send(frame(1, Flag.endHeaders | Flag.endStream, i * 2 + 1, encode(encoder, own)));
      assert.equal(await client.status(i * 2 + 1), 204);
    }
    assert.deepEqual(got, want);
    server.close();
  });

  test("encodes what the decoder reads", async () => {
    const rounds = fc.sample(fc.array(fc.tuple(token, value), { maxLength: 15 }), {
      numRuns: 40,
      seed: 8,
    });
    const server = http2.createServer();
    server.on("stream", (stream: http2.ServerHttp2Stream, request) => {
      const own = rounds[Number(request[":path"]!.slice(1))]!;
      const fields: Record<string, string[]> = {};
      for (const [name, text] of own) (fields[`x-${name}`] ??= []).push(text.replaceAll("é", "e"));
      stream.respond({ ":status": 200, ...fields }, { endStream: true });
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    using client = await FrameClient.connect((server.address() as net.AddressInfo).port);
    for (const [i, round] of rounds.entries()) {
      const pairs: Pair[] = [
        [":method", "GET"],
        [":scheme", "http"],
        [":path", `/${i}`],
        [":authority", "a"],
      ];
      client.send(frame(1, Flag.endHeaders | Flag.endStream, i * 2 + 1, block(...pairs)));
      await client.head(i * 2 + 1);
      const answer = client.frames.find(
        (one) => one.streamId === i * 2 + 1 && one.fields.length > 0,
      )!;
      const sorted = (list: readonly Pair[]): string[] =>
        list.map((pair) => pair.join(": ")).sort();
      assert.deepEqual(
        sorted(answer.fields.filter(([name]) => name.startsWith("x-"))),
        sorted(round.map(([name, text]) => [`x-${name}`, text.replaceAll("é", "e")] as const)),
      );
    }
    server.close();
  });
});
