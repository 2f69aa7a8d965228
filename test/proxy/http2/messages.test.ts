/** RFC 9113 section 8 and the crossing to HTTP/1.1: what is malformed is reset, and nothing of it reaches the service. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Message } from "../../support/message.ts";
import { answering, ok } from "../../support/origin.ts";
import { ErrorCode, Flag, FrameType, block, frame } from "./frame-client.ts";
import { onBothListeners, type Rule } from "./rules.ts";
import { Serving } from "./serving.ts";

type Pairs = readonly (readonly [string, string])[];
const { endStream, endHeaders } = Flag;
const { headers, data } = FrameType;
const { protocolError } = ErrorCode;

/** What the service has received, in order. */
const arrived: Message[] = [];

function answer(request: Message): string {
  arrived.push(request);
  const target = request.start.split(" ")[1]!;
  if (target === "/trailers")
    return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\nConnection: x\r\n\r\n";
  if (target === "/early") return `HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n${ok("late")}`;
  if (target === "/hop")
    return "HTTP/1.1 200 OK\r\nConnection: X-Hop, close\r\nKeep-Alive: timeout=1\r\nX-Hop: 1\r\nX-UPPER: Yes\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n";
  return ok(request.start.startsWith("HEAD") ? "" : request.body, "X-Seen: 1\r\n");
}

let serving: Serving;
before(async () => {
  serving = await Serving.start({ script: answering(answer) });
});
after(() => serving.stop());

const base: Pairs = [
  [":method", "GET"],
  [":scheme", "http"],
  [":path", "/"],
  [":authority", "test.example"],
];
const without = (name: string): Pairs => base.filter(([one]) => one !== name);
const withValue = (name: string, value: string): Pairs =>
  base.map((pair) => (pair[0] === name ? [name, value] : pair));

/** Heads that are malformed (RFC 9113 sections 8.2 and 8.3): the stream is reset with PROTOCOL_ERROR, nothing else happens. */
const malformed: readonly (readonly [string, Pairs])[] = [
  ["8.2: an upper-case letter in a name", [...base, ["X-Test", "ok"]]],
  ["8.2.1: a space in a name", [...base, ["x test", "ok"]]],
  ["8.2.1: a colon in a name", [...base, ["x:test", "ok"]]],
  ["8.2.1: a control character in a name", [...base, ["x\x01test", "ok"]]],
  ["8.2.1: a character above 0x7e in a name", [...base, ["x\xe9", "ok"]]],
  ["8.2.1: CRLF in a name", [...base, ["x\r\ny", "ok"]]],
  ["8.2.1: NUL in a name", [...base, ["x\0y", "ok"]]],
  ["8.2.1: DEL in a name", [...base, ["x\x7f", "ok"]]],
  ["8.2.1: a name that is a colon", [...base, [":", "ok"]]],
  ["8.2.1: an empty name", [...base, ["", "ok"]]],
  ["8.2.1: LF in a value", [...base, ["x-test", "a\nb"]]],
  ["8.2.1: CR in a value", [...base, ["x-test", "a\rb"]]],
  ["8.2.1: LF before a value", [...base, ["x-test", "\na"]]],
  ["8.2.1: LF after a value", [...base, ["x-test", "a\n"]]],
  ["8.2.1: CR before a value", [...base, ["x-test", "\ra"]]],
  ["8.2.1: CR after a value", [...base, ["x-test", "a\r"]]],
  ["8.2.1: NUL before a value", [...base, ["x-test", "\0a"]]],
  ["8.2.1: DEL in a value", [...base, ["x-test", "a\x7fb"]]],
  ["8.2.1: a space after a value", [...base, ["x-test", "a "]]],
  ["8.2.1: CRLF in a cookie", [...base, ["cookie", "a=1\r\nx-admin: 1"]]],
  ["8.2.1: CRLF and a header in a value", [...base, ["x-test", "a\r\nx-admin: 1"]]],
  [
    "8.2.1: a whole request in a value",
    [...base, ["x", "a\r\n\r\nGET /secret HTTP/1.1\r\nHost: a\r\n\r\n"]],
  ],
  ["8.2.1: NUL in a value", [...base, ["x-test", "a\0b"]]],
  ["8.2.1: a space before a value", [...base, ["x-test", " a"]]],
  ["8.2.1: a tab after a value", [...base, ["x-test", "a\t"]]],
  ["8.2.2: Connection", [...base, ["connection", "keep-alive"]]],
  ["8.2.2: Keep-Alive", [...base, ["keep-alive", "timeout=5"]]],
  ["8.2.2: Proxy-Connection", [...base, ["proxy-connection", "keep-alive"]]],
  ["8.2.2: Transfer-Encoding", [...base, ["transfer-encoding", "chunked"]]],
  ["8.2.2: Transfer-Encoding: identity", [...base, ["transfer-encoding", "identity"]]],
  ["8.2.2: Transfer-Encoding of nothing", [...base, ["transfer-encoding", ""]]],
  ["8.2.2: Upgrade", [...base, ["upgrade", "h2c"]]],
  ["8.2.2: TE of nothing", [...base, ["te", ""]]],
  ["8.2.2: TE other than trailers", [...base, ["te", "trailers, deflate"]]],
  ["8.3: an unknown pseudo-header field", [...base, [":test", "ok"]]],
  ["8.3: a pseudo-header field of answers", [...base, [":status", "200"]]],
  [
    "8.3: a pseudo-header field after a regular one",
    [base[0]!, base[1]!, ["x-test", "ok"], base[2]!, base[3]!],
  ],
  ["8.3.1: no :method", without(":method")],
  ["8.3.1: no :scheme", without(":scheme")],
  ["8.3.1: no :path", without(":path")],
  ["8.3.1: an empty :path", withValue(":path", "")],
  ["8.3.1: two :method", [base[0]!, ...base]],
  ["8.3.1: two :scheme", [base[1]!, ...base]],
  ["8.3.1: two :path", [base[2]!, ...base]],
  ["8.3.1: two :authority", [base[3]!, ...base]],
  ["8.3.1: neither :authority nor Host", without(":authority")],
  ["8.3.1: an empty :method", withValue(":method", "")],
  ["8.3.1: an empty :scheme", withValue(":scheme", "")],
  ["8.3.1: an empty :authority", withValue(":authority", "")],
  ["8.3.1: NUL in :path", withValue(":path", "/\0")],
  ["8.3.1: a tab in :path", withValue(":path", "/\tHTTP/1.1")],
  ["8.3.1: a character above 0x7e in :path", withValue(":path", "/\xe9")],
  ["8.3.1: a colon in :method", withValue(":method", "GET:")],
  ["8.3.1: two authorities in :authority", withValue(":authority", "test.example,other.example")],
  ["8.3.1: a port that is none in :authority", withValue(":authority", "test.example:x")],
  ["8.3.1: a :path that is not absolute", withValue(":path", "index.html")],
  ["8.3.1: an absolute URL as :path", withValue(":path", "http://other.example/")],
  ["8.3.1: * as the :path of a GET", withValue(":path", "*")],
  ["8.3.1: a fragment in :path", withValue(":path", "/a#b")],
  ["8.3.1: a space in :path", withValue(":path", "/ HTTP/1.1")],
  ["8.3.1: CRLF in :path", withValue(":path", "/ HTTP/1.1\r\nX: 1\r\n")],
  ["8.3.1: a space in :method", withValue(":method", "GET /x HTTP/1.1\r\n")],
  ["8.3.1: CRLF in :method", withValue(":method", "GET\r\nX: 1")],
  ["8.3.1: an unknown :scheme", withValue(":scheme", "ftp")],
  ["8.3.1: a request line in :scheme", withValue(":scheme", "http://x/ HTTP/1.1\r\n")],
  ["8.3.1: user information in :authority", withValue(":authority", "admin@test.example")],
  ["8.3.1: a path in :authority", withValue(":authority", "test.example/x")],
  ["8.3.1: CRLF in :authority", withValue(":authority", "test.example\r\nX: 1")],
  ["8.3.1: a space in :authority", withValue(":authority", "test.example x")],
  ["8.3.1: Host that differs from :authority", [...base, ["host", "other.example"]]],
  ["8.3.1: two Host fields", [...base, ["host", "test.example"], ["host", "test.example"]]],
  [
    "8.5: CONNECT with :path",
    [
      [":method", "CONNECT"],
      [":path", "/"],
      [":authority", "test.example:80"],
    ],
  ],
  [
    "8.5: CONNECT with :scheme",
    [
      [":method", "CONNECT"],
      [":scheme", "http"],
      [":authority", "test.example:80"],
    ],
  ],
  [
    "8.5: CONNECT without a port",
    [
      [":method", "CONNECT"],
      [":authority", "test.example"],
    ],
  ],
  ["RFC 8441 4: :protocol without CONNECT", [...base, [":protocol", "gopher"]]],
  ["8.1.1: Content-Length without a body", [...base, ["content-length", "5"]]],
  ["8.1.1: two Content-Length fields", [...base, ["content-length", "0"], ["content-length", "0"]]],
  ["8.1.1: Content-Length that is a list", [...base, ["content-length", "0, 0"]]],
  ["8.1.1: Content-Length with a sign", [...base, ["content-length", "+0"]]],
  ["8.1.1: Content-Length in hexadecimal", [...base, ["content-length", "0x0"]]],
  ["8.1.1: Content-Length below zero", [...base, ["content-length", "-1"]]],
  ["8.1.1: Content-Length of nothing", [...base, ["content-length", ""]]],
  ["8.1.1: Content-Length above all numbers", [...base, ["content-length", "9".repeat(20)]]],
];

onBothListeners(
  () => serving,
  malformed.map(([name, pairs]) => [
    `${name}: PROTOCOL_ERROR`,
    async (client) => {
      arrived.length = 0;
      client.send(frame(headers, endStream | endHeaders, 1, block(...pairs)));
      await client.onlyStreamError(1, protocolError);
      client.send(client.get(3));
      assert.equal(await client.status(3), 200);
      assert.deepEqual(
        arrived.map(({ start }) => start),
        ["GET / HTTP/1.1"],
      );
    },
  ]),
);

test("a malformed request is counted as bad-request, and its error by name", async () => {
  const before = await serving.gateway.metric("weft_requests_total", { code: "bad-request" });
  const errors = await serving.gateway.metric("weft_protocol_errors_total", {
    error: "PROTOCOL_ERROR",
  });
  using client = await serving.connect();
  client.send(frame(headers, endStream | endHeaders, 1, block(...base, ["X", "1"])));
  await client.onlyStreamError(1, protocolError);
  assert.equal(
    await serving.gateway.metric("weft_requests_total", { code: "bad-request" }),
    before + 1,
  );
  assert.equal(
    await serving.gateway.metric("weft_protocol_errors_total", { error: "PROTOCOL_ERROR" }),
    errors + 1,
  );
  assert.match(
    serving.gateway.stdout + serving.gateway.stderr,
    /upper-case letter in a field name/,
  );
});

// === bodies ===

/** Trailers that are malformed (RFC 9113 sections 8.1 and 8.2). */
const malformedTrailers: readonly (readonly [string, Pairs])[] = [
  ["a pseudo-header field", [[":path", "/x"]]],
  ["Content-Length", [["content-length", "3"]]],
  ["Transfer-Encoding", [["transfer-encoding", "chunked"]]],
  ["Host", [["host", "other.example"]]],
  ["Connection", [["connection", "close"]]],
  ["Keep-Alive", [["keep-alive", "timeout=1"]]],
  ["Proxy-Connection", [["proxy-connection", "close"]]],
  ["Upgrade", [["upgrade", "h2c"]]],
  ["NUL", [["x-sum", "1\0"]]],
  ["a space in a name", [["x sum", "1"]]],
  ["an upper-case letter", [["X-Sum", "1"]]],
  ["CRLF", [["x-sum", "1\r\n\r\nGET / HTTP/1.1"]]],
];

onBothListeners(
  () => serving,
  [
    [
      "8.1.1: a body shorter than Content-Length is PROTOCOL_ERROR",
      async (client) => {
        client.send(
          client.open(1, ["content-length", "5"]),
          frame(data, endStream, 1, Buffer.from("abc")),
        );
        await client.onlyStreamError(1, protocolError);
      },
    ],
    [
      "8.1.1: a body longer than Content-Length is PROTOCOL_ERROR",
      async (client) => {
        client.send(
          client.open(1, ["content-length", "2"]),
          frame(data, 0, 1, Buffer.from("a")),
          frame(data, endStream, 1, Buffer.from("bc")),
        );
        await client.onlyStreamError(1, protocolError);
      },
    ],
    [
      "8.1: a second head that does not end the stream is PROTOCOL_ERROR",
      async (client) => {
        client.send(client.open(1), frame(headers, endHeaders, 1, block(["x-more", "1"])));
        await client.onlyStreamError(1, protocolError);
      },
    ],
    ...malformedTrailers.map(([name, pairs]): Rule => [
      `8.1: trailers with ${name} are PROTOCOL_ERROR`,
      async (client) => {
        client.send(
          client.open(1),
          frame(data, 0, 1, Buffer.from("abc")),
          frame(headers, endStream | endHeaders, 1, block(...pairs)),
        );
        await client.onlyStreamError(1, protocolError);
      },
    ]),
  ],
);

// === what arrives at the service ===

/** The last request at the service, with the names in lower case. */
const seen = (): string => {
  const { start, fields } = arrived.at(-1)!;
  return [start, ...fields.map(([name, value]) => `${name.toLowerCase()}: ${value}`), ""].join(
    "\r\n",
  );
};

test("a request becomes one of HTTP/1.1 with Host, its fields and one Cookie", async () => {
  using client = await serving.connect();
  client.send(
    client.get(
      1,
      ["cookie", "a=1"],
      ["x-one", "1"],
      ["cookie", "b=2"],
      ["te", "trailers"],
      ["x-two", ""],
    ),
  );
  assert.equal(await client.status(1), 200);
  const text = seen();
  assert.match(text, /^GET \/ HTTP\/1\.1\r\nhost: test\.example\r\n/);
  assert.match(text, /\r\ncookie: a=1; b=2\r\n/);
  assert.match(text, /\r\nx-one: 1\r\n/);
  assert.match(text, /\r\nx-two: \r\n/);
  assert.match(text, /\r\nte: trailers\r\n/);
  // CONTRACT section 5, whatever the caller speaks
  assert.match(text, /\r\nvia: 1\.1 weft\r\n/);
  assert.equal(text.match(/host:/g)!.length, 1 + (text.match(/x-forwarded-host:/g)?.length ?? 0));
});

test("Host without :authority is the authority", async () => {
  using client = await serving.connect();
  client.send(
    frame(
      headers,
      endStream | endHeaders,
      1,
      block(...without(":authority"), ["host", "Test.Example"]),
    ),
  );
  assert.equal(await client.status(1), 200);
  assert.match(seen(), /^GET \/ HTTP\/1\.1\r\nhost: test\.example\r\n/);
});

test("a body without Content-Length is chunked, one with it is not", async () => {
  using client = await serving.connect();
  client.send(
    client.open(1),
    frame(data, 0, 1, Buffer.from("ab")),
    frame(data, endStream, 1, Buffer.from("c")),
  );
  assert.equal((await client.body(1)).toString(), "abc");
  assert.match(seen(), /\r\ntransfer-encoding: chunked\r\n/);
  client.send(
    client.open(3, ["content-length", "3"]),
    frame(data, endStream, 3, Buffer.from("abc")),
  );
  assert.equal((await client.body(3)).toString(), "abc");
  assert.match(seen(), /\r\ncontent-length: 3\r\n/);
});

test("a POST that ends at its head says Content-Length: 0", async () => {
  using client = await serving.connect();
  client.send(frame(headers, endStream | endHeaders, 1, client.post()));
  assert.equal(await client.status(1), 200);
  assert.match(seen(), /\r\ncontent-length: 0\r\n/);
});

test("trailers of the request arrive, without those that have no place there", async () => {
  using client = await serving.connect();
  client.send(
    client.open(1),
    frame(data, 0, 1, Buffer.from("abc")),
    frame(headers, endStream | endHeaders, 1, block(["x-sum", "7"], ["authorization", "x"])),
  );
  assert.equal(await client.status(1), 200);
  assert.deepEqual(arrived.at(-1)!.trailers, [["x-sum", "7"]]);
});

test("trailers of the answer arrive and end the stream", async () => {
  using client = await serving.connect();
  client.send(frame(headers, endStream | endHeaders, 1, block(...withValue(":path", "/trailers"))));
  const last = await client.next("trailers", (one) =>
    one.fields.some(([name]) => name === "x-sum"),
  );
  assert.equal(last.flags & endStream, endStream);
  assert.deepEqual(last.fields, [["x-sum", "7"]]);
});

test("103 Early Hints arrive before the answer", async () => {
  using client = await serving.connect();
  client.send(frame(headers, endStream | endHeaders, 1, block(...withValue(":path", "/early"))));
  const hints = await client.next("hints", (one) => one.fields.length > 0);
  assert.deepEqual(hints.fields, [
    [":status", "103"],
    ["link", "</a.css>"],
  ]);
  const final = await client.next("the answer", (one) => one.fields.length > 0);
  assert.equal(final.fields[0]![1], "200");
});

test("what belongs to one hop of HTTP/1.1 does not reach the caller, and names are in lower case", async () => {
  using client = await serving.connect();
  client.send(frame(headers, endStream | endHeaders, 1, block(...withValue(":path", "/hop"))));
  const head = await client.head(1);
  assert.deepEqual([...head.keys()], [":status", "x-upper", "content-length"]);
});

test("an answer to HEAD has its Content-Length and no body", async () => {
  using client = await serving.connect();
  client.send(frame(headers, endStream | endHeaders, 1, block(...withValue(":method", "HEAD"))));
  assert.equal(await client.status(1), 200);
  assert.equal((await client.body(1)).length, 0);
});

test("a head above headerBytes is 431, however it is encoded", async () => {
  using client = await serving.connect();
  const large: Pairs = Array.from({ length: 16 }, (_, i) => [`x-${i}`, "y".repeat(4000)]);
  const whole = client.request(...large);
  const parts = [frame(headers, endStream, 1, whole.subarray(0, 16_000))];
  for (let at = 16_000; at < whole.length; at += 16_000)
    parts.push(
      frame(
        FrameType.continuation,
        at + 16_000 >= whole.length ? endHeaders : 0,
        1,
        whole.subarray(at, at + 16_000),
      ),
    );
  client.send(...parts);
  assert.equal(await client.status(1), 431);
  client.send(client.get(3));
  assert.equal(await client.status(3), 200);
});

test("more fields than headerCount is 431", async () => {
  using client = await serving.connect();
  client.send(client.get(1, ...Array.from({ length: 101 }, (_, i) => [`x-${i}`, "1"] as const)));
  assert.equal(await client.status(1), 431);
});
