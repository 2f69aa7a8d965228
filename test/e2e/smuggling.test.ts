/** Requests that two servers could read differently: 400, the connection closed, and nothing of them upstream. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Lanes } from "../support/lanes.ts";
import type { Lane } from "../support/lanes.ts";

let lanes: Lanes;
let lane: Lane;
before(async () => {
  lanes = await Lanes.start({ kinds: { default: { count: 4 } } });
  lane = await lanes.lane();
});
after(async () => {
  await lane[Symbol.asyncDispose]();
  await lanes.stop();
});

const host = "default-3.test";
const inner = `GET /smuggled HTTP/1.1\r\nHost: ${host}\r\n\r\n`;
const post = (...lines: string[]) =>
  `POST / HTTP/1.1\r\nHost: ${host}\r\n${lines.map((line) => `${line}\r\n`).join("")}\r\n`;

/** Refused at the head: nothing may reach the origin. */
const heads: Record<string, string> = {
  "CL.TE": post("Content-Length: 6", "Transfer-Encoding: chunked") + "0\r\n\r\n" + inner,
  "TE.CL": post("Transfer-Encoding: chunked", "Content-Length: 4") + `5c\r\n${inner}\r\n0\r\n\r\n`,
  "CL.CL": post("Content-Length: 0", `Content-Length: ${inner.length}`) + inner,
  "TE.TE with another coding":
    post("Transfer-Encoding: chunked", "Transfer-Encoding: x") + "0\r\n\r\n" + inner,
  "TE with a space before the colon":
    post("Transfer-Encoding : chunked", "Content-Length: 0") + inner,
  "TE with a tab in its value": post("Transfer-Encoding: \x0bchunked") + inner,
  "TE folded": post("Transfer-Encoding:", " chunked") + inner,
  "TE behind a bare CR": post("X: a\rTransfer-Encoding: chunked") + inner,
  "TE behind a bare LF": post("X: a\nTransfer-Encoding: chunked") + inner,
  "TE with xchunked": post("Transfer-Encoding: xchunked") + inner,
  "TE gzip, chunked": post("Transfer-Encoding: gzip, chunked") + "0\r\n\r\n",
  "TE in HTTP/1.0":
    `POST / HTTP/1.0\r\nHost: ${host}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n` + inner,
  "CL with a plus": post("Content-Length: +5") + "hello" + inner,
  "CL as a list": post("Content-Length: 5, 5") + "hello" + inner,
  "CL too large for a number": post("Content-Length: 18446744073709551621") + "hello" + inner,
  "two Host": post("Host: other"),
  "a Host that differs from the target": `GET http://other/ HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
  "no Host": "GET / HTTP/1.1\r\n\r\n",
  "Connection naming Host": post("Connection: host"),
  "Connection naming Authorization": post("Connection: authorization", "Authorization: x"),
  "Connection naming Cookie": post("Connection: Cookie", "Cookie: a=b"),
  "Connection naming Content-Length":
    post("Connection: Content-Length", `Content-Length: ${inner.length}`) + inner,
  "Connection naming X-Forwarded-For": post("Connection: x-forwarded-for"),
  "an encoded slash": `GET /a%2Fb HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
  "an encoded slash in small letters": `GET /a%2fb HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
  "an encoded backslash": `GET /a%5Cb HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
  "an encoded NUL": `GET /a%00 HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
  "a backslash": `GET /a\\..\\b HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
  "a fragment": `GET /a#b HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
  "a broken escape": `GET /a%zz HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
  "HTTP/0.9": "GET /\r\n",
  "a TLS hello": "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + "\x00".repeat(160),
  "NUL first": "\0GET / HTTP/1.1\r\n\r\n",
};

describe("refused before anything goes upstream:", () => {
  for (const [name, text] of Object.entries(heads)) {
    for (const pieces of ["whole", "bytes"] as const) {
      test(`${name}, ${pieces}`, async () => {
        assert.equal(lane.host, host);
        lane.origin.forgetRequests();
        using client = await lane.connect();
        await client.send(text, pieces);
        const got = await client.untilEnded();
        assert.match(got, /^HTTP\/1\.1 400 Bad Request\r\n/);
        assert.match(got, /\r\nconnection: close\r\n/i);
        assert.match(got, /"code":"bad-request"/);
        assert.match(got, /\r\nproxy-status: weft; error=http_request_error/i);
        assert.equal(got.match(/HTTP\/1\.1 \d\d\d/g)!.length, 1, got);
        assert.equal(lane.origin.text, "");
      });
    }
  }
});

/** The head is fine, the body is not: the origin may see a part, but never a whole request, nor what stands behind. */
const bodies: Record<string, string> = {
  "a chunk size with 0x": "0x5\r\nhello\r\n0\r\n\r\n",
  "a chunk size with a space": "5 \r\nhello\r\n0\r\n\r\n",
  "a chunk size with a sign": "+5\r\nhello\r\n0\r\n\r\n",
  "a chunk size too large": "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
  "LF behind a chunk size": "5\nhello\r\n0\r\n\r\n",
  "LF in a chunk extension": "5;a\nb\r\nhello\r\n0\r\n\r\n",
  "a chunk without its CRLF": "5\r\nhelloX\r\n0\r\n\r\n",
  "a last chunk ended by LF": "5\r\nhello\r\n0\n\n",
  "Content-Length in the trailers": "5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n",
  "Transfer-Encoding in the trailers": "5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
};

describe("a malformed chunked body ends the request:", () => {
  for (const [name, body] of Object.entries(bodies)) {
    for (const pieces of ["whole", "bytes"] as const) {
      test(`${name}, ${pieces}`, async () => {
        lane.origin.forgetRequests();
        using client = await lane.connect();
        await client.send(post("Transfer-Encoding: chunked") + body + inner, pieces);
        const got = await client.untilEnded();
        assert.match(got, /^HTTP\/1\.1 400 /);
        assert.equal(got.match(/HTTP\/1\.1 \d\d\d/g)!.length, 1, got);
        assert.doesNotMatch(lane.origin.text, /smuggled/);
        assert.doesNotMatch(
          lane.origin.text,
          /0\r\n\r\n/,
          "the origin must not take the body for whole",
        );
        await lane.origin.until("the origin's connection to be cut", () => lane.origin.open === 0);
      });
    }
  }
});

describe("what a caller claims about itself is not believed at the edge:", () => {
  const claims = [
    "X-Forwarded-For: 1.2.3.4",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: evil",
    "Forwarded: for=1.2.3.4;host=evil",
    "X_Forwarded_For: 1.2.3.4",
    "x-weft-peer: spiffe://weft.local/service/admin",
    "X-Weft-Consumer: root",
    "x-envoy-expected-rq-timeout-ms: 1",
    "Content_Length: 5",
    "__proto__: polluted",
  ];
  test("forged fields do not reach the service", async () => {
    lane.origin.forgetRequests();
    using client = await lane.connect();
    await client.send(lane.head("GET /", ...claims));
    assert.equal((await client.response()).status, 200);
    const seen = lane.origin.text;
    assert.doesNotMatch(seen, /1\.2\.3\.4|evil|admin|root|expected-rq|Content_Length|polluted/);
    assert.match(seen, /x-forwarded-for: 127\.0\.0\.1\r\n/i);
    assert.match(seen, /x-forwarded-proto: http\r\n/i);
    assert.match(seen, new RegExp(`x-forwarded-host: ${host}\r\n`, "i"));
    assert.match(seen, /via: 1\.1 weft\r\n/i);
  });
});
