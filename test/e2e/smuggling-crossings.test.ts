/** What a caller cannot smuggle across the crossings of HTTP/1.1 and HTTP/2: one request stays one, and nothing forged arrives. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import {
  block,
  ErrorCode,
  Flag,
  frame,
  FrameClient,
  FrameType,
} from "../proxy/http2/frame-client.ts";
import { FramePeer, type PeerRequest } from "../proxy/http2/frame-peer.ts";
import { Lanes, type Lane } from "../support/lanes.ts";
import type { Message } from "../support/message.ts";
import { answering, ok } from "../support/origin.ts";

type Pairs = readonly (readonly [string, string])[];

const { headers, data } = FrameType;
const { endHeaders, endStream } = Flag;

let lanes: Lanes;
let http1: Lane;
let http2: Lane;
/** What the services were asked, in order. */
const asked: Message[] = [];
const heads: PeerRequest[] = [];
const peers: FramePeer[] = [];
before(async () => {
  lanes = await Lanes.start({
    kinds: { default: { count: 1 }, http2: { count: 2, service: "protocol: http2" } },
  });
  http1 = await lanes.lane(
    answering((request) => {
      asked.push(request);
      return ok(request.start.startsWith("HEAD") ? "" : request.body);
    }),
  );
  http2 = await lanes.lane(async (connection) => {
    const peer = new FramePeer(connection);
    peers.push(peer);
    for (let one = await peer.request(); one !== null; one = await peer.request()) {
      heads.push(one);
      const { id, ended } = one;
      // a body that never ends must not keep the others waiting
      const body = ended ? Promise.resolve(Buffer.alloc(0)) : peer.body(id);
      body.then(
        (bytes) => peer.send(peer.ok(id, bytes.toString("latin1"))),
        () => {},
      );
    }
  }, "http2");
});
after(async () => {
  await http1[Symbol.asyncDispose]();
  await http2[Symbol.asyncDispose]();
  await lanes.stop();
});

async function connect(lane: Lane): Promise<FrameClient> {
  const client = await FrameClient.connect(lanes.gateway.port);
  client.authority = lane.host;
  return client;
}

function head(client: FrameClient, method: string, path: string, ...more: Pairs): Buffer {
  return block(
    [":method", method],
    [":scheme", "http"],
    [":path", path],
    [":authority", client.authority],
    ...more,
  );
}

const inner = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

describe("HTTP/2 to HTTP/1.1:", () => {
  for (const method of ["GET", "HEAD", "POST", "DELETE", "OPTIONS", "PROPFIND", "TRACE"])
    test(`a body of ${method} that looks like the end of one and a request is a body`, async () => {
      asked.length = 0;
      using client = await connect(http1);
      client.send(
        frame(headers, endHeaders, 1, head(client, method, "/outer")),
        frame(data, endStream, 1, Buffer.from(inner)),
      );
      const answer = await client.body(1);
      assert.equal(answer.toString(), method === "HEAD" ? "" : inner);
      assert.deepEqual(
        asked.map(({ start, body }) => [start, body]),
        [[`${method} /outer HTTP/1.1`, inner]],
      );
      client.send(client.get(3));
      assert.equal(await client.status(3), 200);
      assert.equal(asked.length, 2);
    });

  for (const [name, length, chunks] of [
    ["in the same frame", "5", [`hello${inner}`]],
    ["in a later frame", "5", ["hello", inner]],
    ["where the length is 0", "0", [inner]],
  ] as const)
    test(`what exceeds Content-Length is never sent, ${name}`, async () => {
      asked.length = 0;
      http1.origin.forgetRequests();
      using client = await connect(http1);
      client.send(
        frame(headers, endHeaders, 1, head(client, "POST", "/", ["content-length", length])),
        ...chunks.map((chunk) => frame(data, 0, 1, Buffer.from(chunk))),
      );
      await client.onlyStreamError(1, ErrorCode.protocolError);
      client.send(client.get(3));
      assert.equal(await client.status(3), 200);
      assert.doesNotMatch(http1.origin.text, /smuggled/);
    });

  test("less than Content-Length never makes the next request a body", async () => {
    asked.length = 0;
    using client = await connect(http1);
    client.send(
      frame(headers, endHeaders, 1, head(client, "POST", "/short", ["content-length", "100"])),
      frame(data, endStream, 1, Buffer.from("short")),
    );
    await client.onlyStreamError(1, ErrorCode.protocolError);
    client.send(client.get(3));
    assert.equal(await client.status(3), 200);
    assert.deepEqual(
      asked.map(({ start }) => start),
      ["GET / HTTP/1.1"],
    );
  });

  test("a request that is reset in its body leaves the connection to the service unusable, not confused", async () => {
    asked.length = 0;
    using client = await connect(http1);
    client.send(
      frame(headers, endHeaders, 1, head(client, "POST", "/", ["content-length", "100"])),
      frame(data, 0, 1, Buffer.from("part")),
      frame(FrameType.rstStream, 0, 1, Buffer.from([0, 0, 0, 8])),
      client.get(3),
    );
    assert.equal(await client.status(3), 200);
    assert.deepEqual(
      asked.map(({ start }) => start),
      ["GET / HTTP/1.1"],
    );
  });

  for (const path of ["/a%2Fb", "/a%5cb", "/a%00", "/a\\b", "/..%2f", "/%zz"])
    test(`the path ${path} is 400, and nothing goes on`, async () => {
      asked.length = 0;
      using client = await connect(http1);
      client.send(frame(headers, endHeaders | endStream, 1, head(client, "GET", path)));
      assert.equal(await client.status(1), 400);
      assert.equal(asked.length, 0);
    });
});

/** What a stranger may not claim, or has no meaning beyond this hop. */
const forged: Pairs = [
  ["x-forwarded-for", "1.2.3.4"],
  ["x-forwarded-proto", "evil"],
  ["x-forwarded-host", "evil"],
  ["forwarded", "for=1.2.3.4;host=evil"],
  ["x_forwarded_for", "1.2.3.4"],
  ["content_length", "5"],
  ["transfer_encoding", "evil"],
  ["x-weft-peer", "spiffe://weft.local/service/evil"],
  ["x-weft-consumer", "evil"],
  ["x-envoy-expected-rq-timeout-ms", "1"],
  ["grpc-timeout", "1m"],
];
const isForged =
  /1\.2\.3\.4|evil|content_length|x_forwarded|transfer_encoding|expected-rq|grpc-timeout/;

for (const service of ["HTTP/1.1", "HTTP/2"] as const)
  test(`forged fields of a caller over HTTP/2 do not reach a service of ${service}`, async () => {
    asked.length = heads.length = 0;
    const lane = service === "HTTP/2" ? http2 : http1;
    using client = await connect(lane);
    const fields = head(client, "GET", "/", ...forged);
    client.send(frame(headers, endHeaders | endStream, 1, fields));
    assert.equal(await client.status(1), 200);
    const seen = JSON.stringify(service === "HTTP/2" ? [...heads[0]!.fields] : asked[0]!.fields);
    assert.doesNotMatch(seen, isForged);
    assert.match(seen, /"x-forwarded-for","127\.0\.0\.1"/);
    assert.match(seen, new RegExp(`"x-forwarded-host","${lane.host}"`));
  });

describe("HTTP/1.1 to HTTP/2:", () => {
  const ask = async (text: string): Promise<PeerRequest> => {
    heads.length = 0;
    using client = await http2.connect();
    await client.send(text);
    const answer = await client.response({ noBody: text.startsWith("HEAD") });
    assert.equal(answer.status, 200);
    assert.equal(heads.length, 1);
    return heads[0]!;
  };

  test("fields of one hop, and what Connection names, stay behind; names are in lower case", async () => {
    const { fields } = await ask(
      http2.head(
        "GET /a?b",
        "Connection: X-Hop, Upgrade, HTTP2-Settings, TE",
        "X-Hop: 1",
        "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABkAAQAAP__",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: close",
        "TE: gzip, trailers",
        "X-Kept: Yes",
      ),
    );
    assert.deepEqual([...fields.keys()].slice(0, 4), [":method", ":scheme", ":path", ":authority"]);
    assert.equal(fields.get(":path"), "/a?b");
    assert.equal(fields.get(":authority"), http2.host);
    assert.equal(fields.get("te"), "trailers");
    assert.equal(fields.get("x-kept"), "Yes");
    assert.equal(fields.get("via"), "1.1 weft");
    for (const name of fields.keys()) {
      assert.equal(name, name.toLowerCase());
      assert.doesNotMatch(
        name,
        /^(x-hop|upgrade|http2-settings|connection|keep-alive|proxy-connection|host|transfer-encoding)$/,
      );
    }
  });

  test("an absolute target becomes path and authority", async () => {
    const { fields } = await ask(http2.head(`GET http://${http2.host}/x?y`));
    assert.equal(fields.get(":path"), "/x?y");
    assert.equal(fields.get(":authority"), http2.host);
    assert.equal(fields.get(":scheme"), "http");
  });

  test("OPTIONS * keeps its asterisk", async () => {
    assert.equal((await ask(http2.head("OPTIONS *"))).fields.get(":path"), "*");
  });

  test("a body in chunks loses them, and keeps its trailers that may go on", async () => {
    const { id, fields, ended } = await ask(
      `${http2.head("POST /", "Transfer-Encoding: chunked", "Trailer: X-Sum")}3;x=y\r\nabc\r\n0\r\nX-Sum: 7\r\nAuthorization: evil\r\n\r\n`,
    );
    assert.equal(ended, false);
    assert.equal(fields.get("content-length"), undefined);
    const own = peers.at(-1)!.frames.filter((one) => one.streamId === id);
    assert.equal(
      Buffer.concat(own.filter(({ type }) => type === data).map((one) => one.payload)).toString(),
      "abc",
    );
    assert.deepEqual(own.at(-1)!.fields, [["x-sum", "7"]]);
  });

  test("a length is said as it is", async () => {
    const { fields } = await ask(`${http2.head("POST /", "Content-Length: 3")}abc`);
    assert.equal(fields.get("content-length"), "3");
  });

  for (const [name, line] of [
    ["a pseudo-header field", ":path: /evil"],
    ["a space in a name", "X y: 1"],
    ["a bare CR in a value", "X: a\rb"],
    ["a bare LF in a value", "X: a\n:path: /evil"],
    ["NUL in a value", "X: a\0b"],
    ["a folded line", "X: a\r\n b"],
  ] as const)
    test(`${name} is 400, and nothing goes on`, async () => {
      heads.length = 0;
      using client = await http2.connect();
      await client.send(http2.head("GET /", line));
      assert.match(await client.untilEnded(), /^HTTP\/1\.1 400 /);
      assert.equal(heads.length, 0);
    });
});

describe("HTTP/2 to HTTP/2:", () => {
  test("pseudo-header fields come first and once, Host not at all, cookies and priority as they mean", async () => {
    heads.length = 0;
    using client = await connect(http2);
    client.send(
      client.get(
        1,
        ["host", client.authority],
        ["cookie", "a=1"],
        ["cookie", "b=2"],
        ["te", "trailers"],
        ["priority", "u=1, i"],
      ),
    );
    assert.equal(await client.status(1), 200);
    const { fields } = heads[0]!;
    assert.deepEqual([...fields.keys()].slice(0, 4), [":method", ":scheme", ":path", ":authority"]);
    assert.equal(fields.get("host"), undefined);
    assert.equal(fields.get("cookie"), "a=1; b=2");
    assert.equal(fields.get("priority"), "u=1, i");
    assert.equal(fields.get("te"), "trailers");
  });

  test("RFC 7541 6.2.3: what nobody may index goes on as what nobody may index, both ways", async () => {
    const secret = Buffer.from("\x10\x08x-secret\x05value", "latin1");
    const open = block(["x-open", "value"]);
    const status = block([":status", "200"]);
    const asking: FramePeer[] = [];
    await using lane = await lanes.lane(async (connection) => {
      const peer = new FramePeer(connection);
      asking.push(peer);
      for (let one = await peer.request(); one !== null; one = await peer.request()) {
        const answer = Buffer.concat([status, secret, open]);
        peer.send(frame(headers, endHeaders | endStream, one.id, answer));
      }
    }, "http2");
    using client = await connect(lane);
    for (const id of [1, 3, 5]) {
      const fields = Buffer.concat([head(client, "GET", "/"), secret, open]);
      client.send(frame(headers, endHeaders | endStream, id, fields));
      assert.equal((await client.head(id)).get("x-secret"), "value");
    }
    for (const { frames } of [client, asking[0]!]) {
      const blocks = frames.filter(({ type }) => type === headers).map(({ payload }) => payload);
      assert.equal(blocks.length, 3);
      // each time in full, while what is open comes from the table
      for (const bytes of blocks) assert.ok(bytes.includes(secret));
      assert.ok(!blocks[2]!.includes("x-open"));
    }
  });

  test("what breaks off on one side ends on the other, and only there", async () => {
    heads.length = 0;
    using client = await connect(http2);
    client.send(
      frame(headers, endHeaders, 1, head(client, "POST", "/", ["content-length", "5"])),
      frame(data, 0, 1, Buffer.from("hello")),
      frame(data, endStream, 1, Buffer.from(inner)),
    );
    await client.onlyStreamError(1, ErrorCode.protocolError);
    client.send(client.get(3));
    assert.equal(await client.status(3), 200);
    for (const peer of peers)
      assert.doesNotMatch(
        Buffer.concat(peer.frames.map((one) => one.payload)).toString("latin1"),
        /smuggled/,
      );
  });
});
