/** Chunked bodies: decoded exactly or refused, in whatever pieces they come. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { ChunkedDecoder } from "../../proxy/http1/chunked.ts";
import { TOO_LARGE } from "../../proxy/http1/scan.ts";

interface Decoded {
  readonly body: string;
  readonly trailers: string;
  readonly done: boolean;
  /** Negative: refused. */
  readonly result: number;
  /** Bytes after the end of the body. */
  readonly rest: string;
}

/** Decodes `text` cut into pieces of `step` bytes. */
function decode(text: string, step = text.length): Decoded {
  const bytes = Buffer.from(text, "latin1");
  const decoder = new ChunkedDecoder();
  let body = "";
  let result = 0;
  let at = 0;
  const sink = {
    onChunk(buf: Buffer, start: number, end: number) {
      body += buf.toString("latin1", start, end);
    },
  };
  while (at < bytes.length && !decoder.isDone) {
    const piece = Buffer.from(bytes.subarray(at, at + step));
    result = decoder.feed(piece, 0, piece.length, sink);
    if (result < 0) break;
    at += result;
    assert.ok(
      decoder.isDone || result === piece.length,
      "a decoder that is not done takes all it is given",
    );
  }
  return { body, trailers: decoder.trailers, done: decoder.isDone, result, rest: text.slice(at) };
}

const refused: Record<string, string> = {
  "an empty size": "\r\n",
  "a size with 0x": "0x3\r\nabc\r\n0\r\n\r\n",
  "a size with a sign": "+3\r\nabc\r\n0\r\n\r\n",
  "a negative size": "-3\r\nabc\r\n0\r\n\r\n",
  "a size with a space before it": " 3\r\nabc\r\n0\r\n\r\n",
  "a size with a space after it": "3 \r\nabc\r\n0\r\n\r\n",
  "a size with a tab after it": "3\t\r\nabc\r\n0\r\n\r\n",
  "a size with an underscore": "1_0\r\nabc\r\n0\r\n\r\n",
  "a size that is a word": "xyz\r\nabc\r\n0\r\n\r\n",
  "a size beyond 2^44": "100000000000\r\n",
  "a size beyond 2^64": "10000000000000003\r\nabc\r\n0\r\n\r\n",
  "a size ended by LF": "3\nabc\r\n0\r\n\r\n",
  "a size ended by CR alone": "3\rabc\r\n0\r\n\r\n",
  "LF in an extension": "3;a\nabc\r\n0\r\n\r\n",
  "CR in an extension": "3;a\rb\r\nabc\r\n0\r\n\r\n",
  "NUL in an extension": "3;a\0\r\nabc\r\n0\r\n\r\n",
  "data without CRLF behind it": "3\r\nabc0\r\n\r\n",
  "data followed by LF": "3\r\nabc\n0\r\n\r\n",
  "data followed by CR and a letter": "3\r\nabc\rx0\r\n\r\n",
  "data longer than its size": "3\r\nabcd\r\n0\r\n\r\n",
  "a last chunk ended by LF": "0\n\n",
  "a last chunk followed by LF": "0\r\n\n",
  "Content-Length in the trailers": "0\r\nContent-Length: 5\r\n\r\n",
  "Transfer-Encoding in the trailers": "0\r\nTransfer-Encoding: chunked\r\n\r\n",
  "Host in the trailers": "0\r\nHost: b\r\n\r\n",
  "a folded trailer": "0\r\nX: a\r\n b\r\n\r\n",
  "white space before a trailer's colon": "0\r\nX : a\r\n\r\n",
  "a trailer ended by LF": "0\r\nX: a\n\r\n",
  "a trailer without a colon": "0\r\nX\r\n\r\n",
  "NUL in a trailer": "0\r\nX: a\0\r\n\r\n",
};

describe("a chunked body that two readers could end elsewhere is refused:", () => {
  for (const [name, text] of Object.entries(refused)) {
    test(name, () => {
      for (const step of [text.length, 1, 2, 3]) {
        const { result, done } = decode(text, step);
        assert.ok(result < 0, `pieces of ${step}: ${result}`);
        assert.equal(done, false);
      }
    });
  }
});

const accepted: Record<string, readonly [text: string, body: string, trailers: string]> = {
  "an empty body": ["0\r\n\r\n", "", ""],
  "two chunks": ["3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "abcde", ""],
  "sizes in capitals and with leading zeros": [
    "00A\r\n0123456789\r\n00000\r\n\r\n",
    "0123456789",
    "",
  ],
  "an extension": ['3;name="va;lue"\r\nabc\r\n0;last\r\n\r\n', "abc", ""],
  "a chunk that looks like the end": ["5\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n", ""],
  "trailers in order": ["0\r\nX-B: 2\r\nx-a:1\r\n\r\n", "", "X-B: 2\r\nx-a: 1\r\n"],
};

describe("a chunked body is decoded in any pieces:", () => {
  for (const [name, [text, body, trailers]] of Object.entries(accepted)) {
    test(name, () => {
      for (const step of [text.length, 1, 2, 3, 5]) {
        assert.deepEqual(decode(text + "GET /", step), {
          body,
          trailers,
          done: true,
          result: decode(text, step).result,
          rest: "GET /",
        });
      }
    });
  }
});

test("trailers that decide about routing, framing or identity are dropped", () => {
  const names = [
    "Authorization",
    "Cookie",
    "Set-Cookie",
    "Connection",
    "TE",
    "Trailer",
    "X-Forwarded-For",
    "x-weft-peer",
    "X-Request-Id",
    "Content-Encoding",
  ];
  const { trailers, done } = decode(
    `0\r\n${names.map((name) => `${name}: x\r\n`).join("")}X-Kept: y\r\n\r\n`,
  );
  assert.equal(done, true);
  assert.equal(trailers, "X-Kept: y\r\n");
});

test("a flood of chunk extensions is refused (CVE-2024-22019)", () => {
  assert.equal(decode(`1;${"a".repeat(20_000)}\r\n`).result, TOO_LARGE);
  assert.equal(decode("1;aaaaaaaaaaaaaaa\r\nx\r\n".repeat(2000)).result, TOO_LARGE);
});

test("trailers without end are refused", () => {
  assert.equal(decode(`0\r\nX: ${"a".repeat(10_000)}`, 1000).result, TOO_LARGE);
  assert.equal(decode(`0\r\n${"X: a\r\n".repeat(100)}\r\n`).result, TOO_LARGE);
});

test("any body in any chunks and any pieces comes out as it went in", () => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ minLength: 1, maxLength: 50, unit: "binary-ascii" }), { maxLength: 8 }),
      fc.integer({ min: 1, max: 40 }),
      (chunks, step) => {
        const text = `${chunks.map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`).join("")}0\r\n\r\n`;
        const decoded = decode(text, step);
        assert.equal(decoded.body, chunks.join(""));
        assert.equal(decoded.done, true);
      },
    ),
  );
});

test("damage is either refused or read alike whatever the pieces", () => {
  const base = "3\r\nabc\r\n5;x=y\r\nde\r\nf\r\n0\r\nX-T: 1\r\n\r\n";
  fc.assert(
    fc.property(
      fc.nat(base.length - 1),
      fc.constantFrom("\r", "\n", "0", "f", ";", " ", "\0", ""),
      fc.integer({ min: 1, max: 7 }),
      (at, put, step) => {
        const text = base.slice(0, at) + put + base.slice(at + 1);
        const whole = decode(text);
        const pieces = decode(text, step);
        assert.equal(pieces.done, whole.done);
        assert.equal(pieces.result < 0, whole.result < 0);
        if (whole.done)
          assert.deepEqual(
            [pieces.body, pieces.trailers, pieces.rest],
            [whole.body, whole.trailers, whole.rest],
          );
      },
    ),
    { numRuns: 1000 },
  );
});
