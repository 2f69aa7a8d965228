/** Bodies: where they end is decided once, and the next hop is told the same, whole or byte by byte. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Lanes } from "../support/lanes.ts";
import { readMessage, valueOf } from "../support/message.ts";
import { answering, ok } from "../support/origin.ts";
import type { Pieces } from "../support/raw-client.ts";

let lanes: Lanes;
before(async () => {
  lanes = await Lanes.start({ kinds: { default: { count: 60 } } });
});
after(() => lanes.stop());

for (const pieces of ["whole", "bytes"] as const satisfies Pieces[]) {
  describe(`requests sent ${pieces === "whole" ? "whole" : "byte by byte"}:`, () => {
    test("a body by length arrives with that length", async () => {
      await using lane = await lanes.lane(answering((request) => ok(request.body)));
      using client = await lane.connect();
      await client.send(lane.head("POST /x", "Content-Length: 11") + "hello world", pieces);
      assert.equal((await client.response()).body, "hello world");
      const seen = readMessage(lane.origin.text)!;
      assert.equal(valueOf(seen.fields, "content-length"), "11");
      assert.equal(valueOf(seen.fields, "transfer-encoding"), undefined);
    });

    test("a chunked body arrives chunked, with its trailers", async () => {
      await using lane = await lanes.lane(answering((request) => ok(request.body)));
      using client = await lane.connect();
      const body = "5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 42\r\n\r\n";
      await client.send(
        lane.head("POST /x", "Transfer-Encoding: chunked", "Trailer: X-Sum") + body,
        pieces,
      );
      assert.equal((await client.response()).body, "hello world");
      const seen = readMessage(lane.origin.text)!;
      assert.equal(valueOf(seen.fields, "transfer-encoding"), "chunked");
      assert.equal(valueOf(seen.fields, "content-length"), undefined);
      assert.deepEqual(seen.trailers, [["X-Sum", "42"]]);
    });

    test("a chunked DELETE smuggles nothing (GHSA-ggv3-7p47-pfv8)", async () => {
      await using lane = await lanes.lane(answering((request) => ok(request.body)));
      using client = await lane.connect();
      const inner = "GET /admin HTTP/1.1\r\nHost: x\r\n\r\n";
      const chunk = `${inner.length.toString(16)}\r\n${inner}\r\n0\r\n\r\n`;
      await client.send(lane.head("DELETE /x", "Transfer-Encoding: chunked") + chunk, pieces);
      assert.equal((await client.response()).body, inner);
      const seen = readMessage(lane.origin.text)!;
      assert.equal(seen.body, inner);
      assert.equal(seen.length, lane.origin.text.length, "one request, nothing behind it");
    });

    test("a GET with a body keeps it", async () => {
      await using lane = await lanes.lane(answering((request) => ok(request.body)));
      using client = await lane.connect();
      await client.send(lane.head("GET /x", "Content-Length: 4") + "body", pieces);
      assert.equal((await client.response()).body, "body");
    });

    test("an empty chunked body stays a chunked body", async () => {
      await using lane = await lanes.lane(answering((request) => ok(`[${request.body}]`)));
      using client = await lane.connect();
      await client.send(lane.head("POST /x", "Transfer-Encoding: chunked") + "0\r\n\r\n", pieces);
      assert.equal((await client.response()).body, "[]");
    });

    test("a request without a body brings none: neither a length nor chunks", async () => {
      await using lane = await lanes.lane();
      using client = await lane.connect();
      await client.send(lane.head("GET /x"), pieces);
      assert.equal((await client.response()).status, 200);
      assert.doesNotMatch(lane.origin.text, /content-length|transfer-encoding/i);
    });

    test("Content-Length: 0 of a POST is passed on", async () => {
      await using lane = await lanes.lane();
      using client = await lane.connect();
      await client.send(lane.head("POST /x", "Content-Length: 0"), pieces);
      assert.equal((await client.response()).status, 200);
      assert.match(lane.origin.text, /\r\ncontent-length: 0\r\n/i);
    });
  });

  describe(`answers sent ${pieces === "whole" ? "whole" : "byte by byte"}:`, () => {
    const sending =
      (text: string) => async (connection: import("../support/origin.ts").OriginConnection) => {
        while ((await connection.request()) !== null) {
          if (pieces === "whole") connection.send(text);
          else await connection.sendBytes(text);
        }
      };

    test("by length", async () => {
      await using lane = await lanes.lane(sending(ok("hello", "X-A: b\r\n")));
      using client = await lane.connect();
      await client.send(lane.head("GET /"));
      const answer = await client.response();
      assert.equal(answer.body, "hello");
      assert.equal(answer.header("content-length"), "5");
      assert.equal(answer.header("x-a"), "b");
      await client.send(lane.head("GET /again"));
      assert.equal((await client.response()).body, "hello");
    });

    test("chunked, with trailers", async () => {
      const text =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\nX-Sum: 42\r\n\r\n";
      await using lane = await lanes.lane(sending(text));
      using client = await lane.connect();
      await client.send(lane.head("GET /"));
      const answer = await client.response();
      assert.equal(answer.body, "abcde");
      assert.deepEqual(answer.message.trailers, [["X-Sum", "42"]]);
      assert.equal(client.rest, "");
    });

    test("HEAD: the length is told, no byte follows, the connection goes on", async () => {
      await using lane = await lanes.lane(
        sending("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
      );
      using client = await lane.connect();
      for (let i = 0; i < 2; i++) {
        await client.send(lane.head("HEAD /"));
        assert.equal((await client.response({ noBody: true })).header("content-length"), "1000");
      }
      assert.equal(client.rest, "");
      assert.equal(lane.origin.connections.length, 1, "the endpoint's connection is used again");
    });

    for (const start of ["HTTP/1.1 204 No Content", "HTTP/1.1 304 Not Modified"]) {
      test(`${start.slice(9, 12)}: no body, the connection goes on`, async () => {
        await using lane = await lanes.lane(sending(`${start}\r\nETag: "a"\r\n\r\n`));
        using client = await lane.connect();
        for (let i = 0; i < 2; i++) {
          await client.send(lane.head("GET /"));
          const answer = await client.response();
          assert.equal(answer.status, Number(start.slice(9, 12)));
          assert.equal(answer.header("transfer-encoding"), undefined);
        }
        assert.equal(client.rest, "");
        assert.equal(lane.origin.connections.length, 1);
      });
    }

    test("until the end of the connection: chunked towards a caller of HTTP/1.1, who may go on", async () => {
      await using lane = await lanes.lane(async (connection) => {
        await connection.request();
        const text = "HTTP/1.1 200 OK\r\nX-A: b\r\n\r\nhello";
        if (pieces === "whole") connection.send(text);
        else await connection.sendBytes(text);
        connection.end();
      });
      using client = await lane.connect();
      for (let i = 0; i < 2; i++) {
        await client.send(lane.head("GET /"));
        const answer = await client.response();
        assert.equal(answer.body, "hello");
        assert.equal(answer.header("transfer-encoding"), "chunked");
      }
    });

    test("to a caller of HTTP/1.0: no chunks, ended by the close", async () => {
      await using lane = await lanes.lane(
        sending(
          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        ),
      );
      using client = await lane.connect();
      await client.send(`GET / HTTP/1.0\r\nHost: ${lane.host}\r\n\r\n`);
      const text = await client.untilEnded();
      assert.match(text, /^HTTP\/1\.1 200 /);
      assert.doesNotMatch(text, /transfer-encoding/i);
      assert.ok(text.endsWith("\r\n\r\nabcde"), text);
    });

    test("from an endpoint of HTTP/1.0", async () => {
      await using lane = await lanes.lane(async (connection) => {
        await connection.request();
        const text = "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        if (pieces === "whole") connection.send(text);
        else await connection.sendBytes(text);
        connection.end();
      });
      using client = await lane.connect();
      for (let i = 0; i < 2; i++) {
        await client.send(lane.head("GET /"));
        const answer = await client.response();
        assert.equal(answer.body, "hello");
        assert.match(answer.message.start, /^HTTP\/1\.1 200/);
      }
    });
  });
}

test("fields pass through in order, with their case and duplicates", async () => {
  await using lane = await lanes.lane(
    answering(() => ok("x", "Set-Cookie: a=1\r\nX-D: 1\r\nset-cookie: b=2\r\nx-d: 2\r\n")),
  );
  using client = await lane.connect();
  await client.send(lane.head("GET /", "X-D: 1", "x-d: 2", "X-Mixed-CASE: Value"));
  const answer = await client.response();
  const names = answer.message.fields
    .map(([name]) => name)
    .filter((name) => /^(set-cookie|x-d)$/i.test(name));
  assert.deepEqual(names, ["Set-Cookie", "X-D", "set-cookie", "x-d"]);
  assert.match(lane.origin.text, /X-D: 1\r\nx-d: 2\r\nX-Mixed-CASE: Value\r\n/);
});

test("the raw target goes upstream, whatever the route was matched on", async () => {
  await using lane = await lanes.lane();
  using client = await lane.connect();
  const targets = ["/a/./b", "/%7euser/x", "/x?a=/../b&c=%2F", "/caf%C3%A9", "/..."];
  for (const target of targets) {
    await client.send(lane.head(`GET ${target}`));
    assert.equal((await client.response()).status, 200, target);
  }
  const starts = lane.origin.text.match(/^GET \S+ HTTP\/1\.1$/gm);
  assert.deepEqual(
    starts,
    targets.map((target) => `GET ${target} HTTP/1.1`),
  );
});

test("an absolute target becomes a path, with the host beside it", async () => {
  await using lane = await lanes.lane();
  using client = await lane.connect();
  await client.send(`GET http://${lane.host}/x?y=z HTTP/1.1\r\nHost: ${lane.host}\r\n\r\n`);
  assert.equal((await client.response()).status, 200);
  assert.match(lane.origin.text, /^GET \/x\?y=z HTTP\/1\.1\r\n/);
});

test("a gzip answer is not touched", async () => {
  const bytes = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00";
  await using lane = await lanes.lane(answering(() => ok(bytes, "Content-Encoding: gzip\r\n")));
  using client = await lane.connect();
  await client.send(lane.head("GET /", "Accept-Encoding: gzip"));
  const answer = await client.response();
  assert.equal(answer.header("content-encoding"), "gzip");
  assert.equal(answer.body, bytes);
  assert.match(lane.origin.text, /Accept-Encoding: gzip/);
});

test("fields of one hop stay on it, in both directions", async () => {
  const own =
    "Connection: X-Hop-Back, keep-alive\r\nX-Hop-Back: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\nUpgrade: h2c\r\n";
  await using lane = await lanes.lane(answering(() => ok("x", own)));
  using client = await lane.connect();
  await client.send(
    lane.head(
      "GET /",
      "Connection: X-Hop, TE",
      "X-Hop: 1",
      "TE: gzip",
      "Keep-Alive: timeout=1",
      "Proxy-Connection: keep-alive",
      "Upgrade: h2c",
      "X-Kept: 1",
    ),
  );
  const answer = await client.response();
  for (const name of ["x-hop-back", "keep-alive", "proxy-connection", "upgrade"])
    assert.equal(answer.header(name), undefined, name);
  assert.doesNotMatch(lane.origin.text, /x-hop|^te: gzip|keep-alive|proxy-connection|upgrade/im);
  assert.match(lane.origin.text, /X-Kept: 1/);
});

test("a trace goes on: traceparent as it came, B3 translated, a new one otherwise", async () => {
  await using lane = await lanes.lane();
  using client = await lane.connect();
  const [trace, span] = ["80f198ee56343ba864fe8b2a57d3eff7", "e457b5a2e4d86bd1"];
  const cases = [
    [`traceparent: 00-${trace}-${span}-01`, new RegExp(`^00-${trace}-${span}-01$`)],
    [`b3: ${trace}-${span}-1`, new RegExp(`^00-${trace}-${span}-01$`)],
    ["X-None: 1", /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[01]$/],
  ] as const;
  for (const [line, want] of cases) {
    await client.send(lane.head("GET /", line));
    assert.equal((await client.response()).status, 200);
    const seen = [...lane.origin.text.matchAll(/^traceparent: (.*)\r$/gim)].at(-1)?.[1];
    assert.match(seen ?? "", want);
  }
});

test("an answer without a Date gets one, an answer with one keeps it", async () => {
  const date = "Tue, 15 Nov 1994 08:12:31 GMT";
  await using lane = await lanes.lane(
    answering((_request, count) => ok("x", count === 1 ? "" : `Date: ${date}\r\n`)),
  );
  using client = await lane.connect();
  await client.send(lane.head("GET /"));
  assert.ok(Math.abs(Date.parse((await client.response()).header("date")!) - Date.now()) < 60_000);
  await client.send(lane.head("GET /"));
  assert.equal((await client.response()).header("date"), date);
});

test("CONNECT at the edge is answered, never a tunnel", async () => {
  await using lane = await lanes.lane();
  using client = await lane.connect();
  await client.send(`CONNECT ${lane.host}:443 HTTP/1.1\r\nHost: ${lane.host}:443\r\n\r\n`);
  const answer = await client.response();
  assert.ok(answer.status >= 400, String(answer.status));
  assert.equal(lane.origin.connections.length, 0);
});

test("a large body of bytes passes unharmed both ways", async () => {
  const bytes = Buffer.from(
    Array.from({ length: 300_000 }, (_, i) => (i * 7 + (i >> 8)) & 255),
  ).toString("latin1");
  await using lane = await lanes.lane(answering((request) => ok(request.body)));
  using client = await lane.connect();
  await client.send(lane.head("POST /x", `Content-Length: ${bytes.length}`) + bytes);
  assert.ok((await client.response()).body === bytes);
  const chunk = `${bytes.length.toString(16)}\r\n${bytes}\r\n0\r\n\r\n`;
  await client.send(lane.head("POST /x", "Transfer-Encoding: chunked") + chunk);
  assert.ok((await client.response()).body === bytes);
});
