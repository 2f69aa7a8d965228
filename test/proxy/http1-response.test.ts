/** Response heads: a hostile endpoint is refused, an odd one is read as the RFC says. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { ResponseHead } from "../../proxy/http/head.ts";
import { parseResponseHead } from "../../proxy/http1/head.ts";
import { BAD, NEED_MORE, TOO_LARGE } from "../../proxy/http1/scan.ts";

const limits = { headerBytes: 4096, headerCount: 50 };

function parse(text: string, method = "GET") {
  const bytes = Buffer.from(text, "latin1");
  const head = new ResponseHead();
  return { result: parseResponseHead(bytes, 0, bytes.length, head, method, limits), head };
}

const withFields = (...lines: string[]) =>
  `HTTP/1.1 200 OK\r\n${lines.map((line) => `${line}\r\n`).join("")}\r\n`;

const refused: Record<string, string> = {
  "no HTTP at all": "SSH-2.0-OpenSSH_9.2\r\n",
  "HTTP/0.9": "<html>hello there</html>",
  "HTTP/2": "HTTP/2 200 OK\r\n\r\n",
  "HTTP/1.2": "HTTP/1.2 200 OK\r\n\r\n",
  "HTTP in small letters": "http/1.1 200 OK\r\n\r\n",
  "an empty line first": "\r\nHTTP/1.1 200 OK\r\n\r\n",
  "a status of two digits": "HTTP/1.1 20 OK\r\n\r\n",
  "a status of four digits": "HTTP/1.1 2000 OK\r\n\r\n",
  "a status below 100": "HTTP/1.1 099 OK\r\n\r\n",
  "a status in words": "HTTP/1.1 abc OK\r\n\r\n",
  "two spaces before the status": "HTTP/1.1  200 OK\r\n\r\n",
  "a status line ended by LF": "HTTP/1.1 200 OK\nX: 1\r\n\r\n",
  "a status line ended by CR alone": "HTTP/1.1 200 OK\rX: 1\r\n\r\n",
  "NUL in the reason": "HTTP/1.1 200 O\0K\r\n\r\n",
  "two Content-Length that differ": withFields("Content-Length: 1", "Content-Length: 2"),
  "Content-Length beside Transfer-Encoding": withFields(
    "Content-Length: 1",
    "Transfer-Encoding: chunked",
  ),
  "a signed Content-Length": withFields("Content-Length: +1"),
  "a negative Content-Length": withFields("Content-Length: -1"),
  "a Content-Length list": withFields("Content-Length: 1, 2"),
  "Transfer-Encoding gzip, chunked": withFields("Transfer-Encoding: gzip, chunked"),
  "Transfer-Encoding identity": withFields("Transfer-Encoding: identity"),
  "two Transfer-Encoding": withFields("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
  "Transfer-Encoding in HTTP/1.0": "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
  "white space before a colon": withFields("X : a"),
  "a folded line": withFields("X: a", "\tb"),
  "a bare LF": "HTTP/1.1 200 OK\r\nX: a\nY: b\r\n\r\n",
  "a bare CR": withFields("X: a\rSet-Cookie: b"),
  "a control character in a value": withFields("X: a\x02"),
};

describe("an answer that two parsers could read differently is refused:", () => {
  for (const [name, text] of Object.entries(refused)) {
    test(name, () => {
      assert.equal(parse(text).result, BAD);
      for (let length = 1; length < text.length; length++) {
        const { result } = parse(text.slice(0, length));
        assert.ok(result === NEED_MORE || result === BAD, `${length} bytes gave ${result}`);
      }
    });
  }
});

type Framing = readonly [method: string, text: string, framing: string, keepAlive: boolean];

const framed: Record<string, Framing> = {
  "a length": ["GET", withFields("Content-Length: 5"), "length", true],
  chunks: ["GET", withFields("Transfer-Encoding: Chunked"), "chunked", true],
  "neither: until the end of the connection": ["GET", withFields(), "until-close", false],
  "HEAD with a length": ["HEAD", withFields("Content-Length: 5"), "none", true],
  "HEAD with chunks": ["HEAD", withFields("Transfer-Encoding: chunked"), "none", true],
  "HEAD with neither": ["HEAD", withFields(), "none", true],
  "204 with a length": [
    "GET",
    "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
    "none",
    true,
  ],
  "304 with a length": [
    "GET",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    "none",
    true,
  ],
  "100": ["POST", "HTTP/1.1 100 Continue\r\n\r\n", "none", true],
  "103": ["GET", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", "none", true],
  "HTTP/1.0": ["GET", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", "length", false],
  "HTTP/1.0 with keep-alive": [
    "GET",
    "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n",
    "length",
    true,
  ],
  "a close": ["GET", withFields("Content-Length: 5", "Connection: Close"), "length", false],
};

describe("the body of an answer is delimited by:", () => {
  for (const [name, [method, text, framing, keepAlive]] of Object.entries(framed)) {
    test(name, () => {
      const { result, head } = parse(text, method);
      assert.equal(result, text.length);
      assert.equal(head.framing, framing);
      assert.equal(head.keepAlive, keepAlive);
      for (let length = 1; length < text.length; length++)
        assert.equal(parse(text.slice(0, length), method).result, NEED_MORE);
    });
  }
});

test("a status line without a reason is read, with or without its space", () => {
  for (const text of ["HTTP/1.1 200 \r\nX: 1\r\n\r\n", "HTTP/1.1 200\r\nX: 1\r\n\r\n"]) {
    const { result, head } = parse(text);
    assert.equal(result, text.length);
    assert.equal(head.status, 200);
    assert.equal(head.reason, "");
    assert.equal(head.headers.get("x"), "1");
  }
});

test("every status from 100 to 999 is read", () => {
  for (const status of [100, 199, 299, 418, 599, 600, 799, 999]) {
    assert.equal(parse(`HTTP/1.1 ${status} X\r\nContent-Length: 0\r\n\r\n`).head.status, status);
  }
});

test("a reason with bytes above 0x7f is kept", () => {
  assert.equal(parse("HTTP/1.1 200 Tr\xe8s bien\r\n\r\n").head.reason, "Tr\xe8s bien");
});

test("a head that is too large or has too many fields is refused, also while incomplete", () => {
  assert.equal(parse(withFields(`X: ${"a".repeat(5000)}`)).result, TOO_LARGE);
  assert.equal(parse(`HTTP/1.1 200 OK\r\nX: ${"a".repeat(5000)}`).result, TOO_LARGE);
  assert.equal(parse(`HTTP/1.1 200 ${"a".repeat(5000)}`).result, TOO_LARGE);
  assert.equal(parse(withFields(...Array.from({ length: 51 }, () => "X: 1"))).result, TOO_LARGE);
});

test("random bytes never throw", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (bytes, started) => {
      const text = (started ? "HTTP/1.1 200 OK\r\n" : "") + Buffer.from(bytes).toString("latin1");
      assert.ok(Number.isInteger(parse(text).result));
    }),
    { numRuns: 2000 },
  );
});
