/** What a connection speaks, by its first bytes: the same verdict however they are cut. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { detect, type Detected } from "../../../proxy/listen/detect.ts";

const latin1 = (text: string): Buffer => Buffer.from(text, "latin1");

const cases: readonly (readonly [string, string, Detected])[] = [
  ["a request", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "http1"],
  ["a request of HTTP/1.0 with a bare LF", "GET / HTTP/1.0\n\n", "http1"],
  ["CONNECT", "CONNECT a:443 HTTP/1.1\r\n", "http1"],
  ["a method with a hyphen", "M-SEARCH * HTTP/1.1\r\n", "http1"],
  ["HTTP/2 by prior knowledge", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0", "http2"],
  ["a ClientHello", "\x16\x03\x01\x02\x00\x01", "tls"],
  ["a ClientHello of TLS 1.2", "\x16\x03\x03\x00\xff", "tls"],
  ["Redis by its protocol", "*1\r\n$4\r\nPING\r\n", "opaque"],
  ["Redis typed by hand", "GET key\r\n", "opaque"],
  ["Postgres", "\x00\x00\x00\x08\x04\xd2\x16\x2f", "opaque"],
  ["memcached", "get key\r\n", "opaque"],
  ["SSH", "SSH-2.0-OpenSSH_9.7\r\n", "opaque"],
  ["MQTT", "\x10\x10\x00\x04MQTT", "opaque"],
  ["SMTP of a client in a hurry", "EHLO example.com\r\n", "opaque"],
  ["a 0x16 that is no TLS", "\x16\x10abc", "opaque"],
  ["AMQP", "AMQP\0\0\x09\x01", "opaque"],
  ["an endless word", "A".repeat(25), "opaque"],
  ["a line whose version is not HTTP's", "GET / RTSP/1.0\r\n", "opaque"],
  ["a control character in the line", "GET /\x01", "opaque"],
];

describe("detection:", () => {
  for (const [name, text, wanted] of cases) {
    test(name, () => {
      const bytes = latin1(text);
      assert.equal(detect(bytes), wanted);
      // a beginning never says something else than the whole
      for (let at = 0; at <= bytes.length; at++) {
        const early = detect(bytes.subarray(0, at));
        assert.ok(early === "more" || early === wanted, `${early} after ${at} bytes`);
      }
    });
  }

  test("a beginning of HTTP, TLS or nothing at all is not decided", () => {
    for (const text of ["", "G", "GET", "GET /long/path", "PRI * HT", "\x16"])
      assert.equal(detect(latin1(text)), "more");
  });

  test("the verdict on any bytes stays what it was when more come", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fc.uint8Array({ maxLength: 64 }), (a, b) => {
        const early = detect(Buffer.from(a));
        if (early !== "more") assert.equal(detect(Buffer.concat([a, b])), early);
      }),
    );
  });

  test("a request line without an end is left to the parser of HTTP", () => {
    assert.equal(detect(latin1(`GET /${"a".repeat(8 * 1024)}`)), "http1");
  });
});
