/** Real callers: node:http2 over TLS and in the clear, bodies both ways, cancellation, errors of ours, and a drain. */

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import http2 from "node:http2";
import type net from "node:net";
import tls from "node:tls";
import { after, before, test } from "node:test";
import { eventually, within } from "../../support/eventually.ts";
import { RawClient } from "../../support/raw-client.ts";
import { FrameType, Flag, frame } from "./frame-client.ts";
import { Serving } from "./serving.ts";

/** Requests that wait for the test, by path. */
const held = new Map<string, http.ServerResponse>();
let aborted = 0;

const service = http.createServer((request, response) => {
  const path = request.url!;
  if (path.startsWith("/held")) {
    held.set(path, response);
    response.on("close", () => {
      if (!response.writableFinished) aborted++;
    });
    return;
  }
  if (path === "/large") {
    response.end(Buffer.alloc(8_000_000, 0x78));
    return;
  }
  if (path === "/trailers") {
    response.writeHead(200, { trailer: "grpc-status" });
    response.write("body");
    response.addTrailers({ "grpc-status": "0" });
    response.end();
    return;
  }
  let length = 0;
  request.on("data", (chunk: Buffer) => (length += chunk.length));
  request.on("end", () => {
    response.setHeader("x-version", request.httpVersion);
    response.end(JSON.stringify({ method: request.method, length, trailers: request.trailers }));
  });
});

let serving: Serving;
before(async () => {
  service.listen(0, "127.0.0.1");
  await once(service, "listening");
  const { port } = service.address() as net.AddressInfo;
  serving = await Serving.start({ service: `127.0.0.1:${port}` });
});
after(async () => {
  service.close();
  await serving.stop();
  service.closeAllConnections();
});

function connect(secure = false): http2.ClientHttp2Session {
  const [plain, guarded] = serving.gateway.ports;
  const session = secure
    ? http2.connect(`https://127.0.0.1:${guarded}`, {
        servername: "test.example",
        rejectUnauthorized: false,
      })
    : http2.connect(`http://127.0.0.1:${plain}`);
  session.on("error", () => {});
  return session;
}

interface Answer {
  readonly status: number;
  readonly headers: http2.IncomingHttpHeaders;
  readonly body: Buffer;
  readonly trailers: http2.IncomingHttpHeaders;
}

async function ask(
  session: http2.ClientHttp2Session,
  headers: http2.OutgoingHttpHeaders,
  body?: Uint8Array,
): Promise<Answer> {
  const stream = session.request(
    { ":authority": "test.example", ...headers },
    { endStream: body === undefined },
  );
  if (body !== undefined) stream.end(body);
  let trailers: http2.IncomingHttpHeaders = {};
  stream.on("trailers", (received) => (trailers = received));
  const chunks: Buffer[] = [];
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  const [got] = (await within("an answer", once(stream, "response"))) as [
    http2.IncomingHttpHeaders,
  ];
  if (!stream.readableEnded) await within("its end", once(stream, "end"));
  return { status: Number(got[":status"]), headers: got, body: Buffer.concat(chunks), trailers };
}

for (const secure of [false, true]) {
  const where = secure ? "over TLS" : "in the clear";
  test(`bodies go both ways, ${where}`, async () => {
    const session = connect(secure);
    const up = await ask(
      session,
      { ":method": "POST", ":path": "/up" },
      Buffer.alloc(5_000_000, 1),
    );
    assert.deepEqual(JSON.parse(up.body.toString()), {
      method: "POST",
      length: 5_000_000,
      trailers: {},
    });
    const down = await ask(session, { ":path": "/large" });
    assert.equal(down.body.length, 8_000_000);
    session.close();
  });

  test(`hundreds of requests side by side, ${where}`, async () => {
    const session = connect(secure);
    await once(session, "remoteSettings");
    const answers = await Promise.all(
      Array.from({ length: 300 }, (_, i) =>
        ask(session, { ":method": "PUT", ":path": `/${i}` }, Buffer.alloc(i * 100)),
      ),
    );
    for (const [i, answer] of answers.entries())
      assert.equal((JSON.parse(answer.body.toString()) as { length: number }).length, i * 100);
    session.close();
  });
}

test("trailers go both ways", async () => {
  const session = connect();
  const answer = await ask(session, { ":path": "/trailers" });
  assert.equal(answer.body.toString(), "body");
  assert.equal(answer.trailers["grpc-status"], "0");
  const stream = session.request({ ":method": "POST", ":path": "/up", ":authority": "a" }, {
    waitForTrailers: true,
  } as object);
  stream.on("wantTrailers", () => stream.sendTrailers({ "x-sum": "7" }));
  stream.end("abc");
  const chunks: Buffer[] = [];
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  await once(stream, "end");
  assert.deepEqual(JSON.parse(Buffer.concat(chunks).toString()), {
    method: "POST",
    length: 3,
    trailers: { "x-sum": "7" },
  });
  session.close();
});

test("100 Continue comes from the service to the caller that asked", async () => {
  const session = connect();
  const stream = session.request({
    ":method": "POST",
    ":path": "/up",
    ":authority": "a",
    expect: "100-continue",
  });
  await within("the go-ahead", once(stream, "continue"));
  stream.end("abc");
  stream.resume();
  const [got] = (await once(stream, "response")) as [http2.IncomingHttpHeaders];
  assert.equal(got[":status"], 200);
  session.close();
});

test("a caller that cancels, or leaves, gives its requests up at the service", async () => {
  const session = connect();
  const one = session.request({ ":path": "/held/1", ":authority": "a" });
  one.on("error", () => {});
  session.request({ ":path": "/held/2", ":authority": "a" }).on("error", () => {});
  await eventually("both at the service", () => held.has("/held/1") && held.has("/held/2"));
  aborted = 0;
  one.close(http2.constants.NGHTTP2_CANCEL);
  await eventually("the first to be given up", () => aborted === 1);
  session.destroy();
  await eventually("the second to be given up", () => aborted === 2);
});

test("an answer that breaks off is INTERNAL_ERROR, and other streams go on", async () => {
  const session = connect();
  const stream = session.request({ ":path": "/held/cut", ":authority": "a" });
  await eventually("the request", () => held.has("/held/cut"));
  const response = held.get("/held/cut")!;
  response.writeHead(200, { "content-length": "100" });
  response.write("half");
  stream.on("data", () => response.destroy());
  await assert.rejects(within("the cut", once(stream, "end")), /INTERNAL_ERROR/);
  assert.equal((await ask(session, { ":path": "/" })).status, 200);
  session.close();
});

test("errors of ours are problem documents, and trailers-only to callers of gRPC", async () => {
  const session = connect();
  const plain = await ask(session, { ":path": "/%2f" });
  assert.equal(plain.status, 400);
  assert.equal((JSON.parse(plain.body.toString()) as { code: string }).code, "bad-request");
  const stream = session.request({
    ":method": "POST",
    ":path": "/%2f",
    ":authority": "a",
    "content-type": "application/grpc",
    te: "trailers",
  });
  const [headers, flags] = (await once(stream, "response")) as [http2.IncomingHttpHeaders, number];
  assert.equal(headers[":status"], 200);
  assert.equal(headers["grpc-status"], "3");
  assert.equal(flags & http2.constants.NGHTTP2_FLAG_END_STREAM, 1);
  session.close();
});

test("an answer before the end of the request ends the stream with NO_ERROR", async () => {
  using client = await serving.connect();
  client.send(client.open(1, ["content-length", "1000000"], ["content-type", "text/plain"]));
  client.send(frame(FrameType.headers, Flag.endHeaders, 3, client.post([":path", "/x"])));
  await client.streamError(3, 1);
  session: {
    client.send(
      frame(
        FrameType.headers,
        Flag.endHeaders,
        5,
        Buffer.from(client.post().toString("latin1").replace("\x01/", "\x04/%2f"), "latin1"),
      ),
    );
    assert.equal(await client.status(5), 400);
    await client.onlyStreamError(5, 0);
    break session;
  }
});

test("a caller that grants after every frame may go on for long", async () => {
  using client = await serving.connect();
  const path = Buffer.from(
    client.request().toString("latin1").replace("\x01/", "\x06/large"),
    "latin1",
  );
  let granted = 0;
  client.socket.on("data", () => {
    for (; granted < client.frames.length; granted++) {
      const one = client.frames[granted]!;
      if (one.type !== FrameType.data || one.payload.length === 0) continue;
      client.grant(0, one.payload.length);
      client.grant(one.streamId, one.payload.length);
    }
  });
  for (const streamId of [1, 3, 5]) {
    client.send(frame(FrameType.headers, Flag.endHeaders | Flag.endStream, streamId, path));
    assert.equal((await client.body(streamId)).length, 8_000_000);
  }
});

test("as many resets as answers are no flood", async () => {
  using client = await serving.connect();
  for (let i = 0; i < 600; i++) {
    client.send(
      client.get(i * 4 + 1),
      client.open(i * 4 + 3),
      frame(FrameType.rstStream, 0, i * 4 + 3, Buffer.from([0, 0, 0, 8])),
    );
    await client.body(i * 4 + 1);
  }
  await client.ping();
});

test("ALPN decides: http/1.1 is served on the same port", async () => {
  const port = serving.gateway.ports[1]!;
  for (const [offer, want] of [
    [["http/1.1"], "http/1.1"],
    [["h2", "http/1.1"], "h2"],
    [["http/1.1", "h2"], "h2"],
  ] as const) {
    const socket = tls.connect({
      port,
      host: "127.0.0.1",
      servername: "test.example",
      rejectUnauthorized: false,
      ALPNProtocols: [...offer],
    });
    await once(socket, "secureConnect");
    assert.equal(socket.alpnProtocol, want);
    socket.destroy();
  }
});

test("Upgrade: h2c is not an upgrade, and the preface is none after a request of HTTP/1.1", async () => {
  using client = await RawClient.connect(serving.gateway.port);
  await client.send(
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
  );
  assert.equal((await client.response()).status, 200);
  await client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  assert.equal((await client.response()).status, 400);
});

// the last one: it ends the gateway
test("a drain says so twice, finishes what runs and ends the connection", async () => {
  using client = await serving.connect();
  const path = Buffer.from(
    client.request().toString("latin1").replace("\x01/", "\x0b/held/drain"),
    "latin1",
  );
  client.send(frame(FrameType.headers, Flag.endHeaders | Flag.endStream, 1, path));
  await eventually("the request at the service", () => held.has("/held/drain"));
  serving.gateway.child.kill("SIGTERM");
  const first = await client.next("the first GOAWAY", (one) => one.type === FrameType.goaway);
  assert.equal(first.payload.readUInt32BE(0), 0x7fffffff);
  // what was under way is still taken
  client.send(client.get(3));
  const ping = await client.next("PING", (one) => one.type === FrameType.ping && one.flags === 0);
  client.send(frame(FrameType.ping, Flag.ack, 0, ping.payload));
  const second = await client.next("the second GOAWAY", (one) => one.type === FrameType.goaway);
  assert.equal(second.payload.readUInt32BE(0), 3);
  assert.equal(await client.status(3), 200);
  client.send(client.get(5));
  held.get("/held/drain")!.end("done");
  assert.equal((await client.body(1)).toString(), "done");
  await client.untilEnded();
  assert.equal(client.frames.filter((one) => one.streamId === 5).length, 0);
});
