/** CONNECT at a gateway: refused unless a route says otherwise, over HTTP/1.1 and as a stream of HTTP/2. */

import assert from "node:assert/strict";
import { once } from "node:events";
import http2 from "node:http2";
import { after, before, describe, test } from "node:test";
import { parseProxyHeader } from "../../proxy/listen/proxy-protocol.ts";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";
import { answering, ok, Origin } from "../support/origin.ts";
import { freePorts } from "../support/ports.ts";
import { RawClient } from "../support/raw-client.ts";
import {
  ErrorCode,
  Flag,
  FrameClient,
  FrameType,
  block,
  frame,
  uint32,
} from "../proxy/http2/frame-client.ts";

let web: Origin;
let database: Origin;
let gateway: Gateway;

before(async () => {
  web = await Origin.start(answering(() => ok("web")));
  database = await Origin.start(async (connection) => {
    connection.send("welcome\n");
    connection.socket.on("data", (chunk: Buffer) => connection.socket.write(chunk));
    await connection.untilEnded();
    connection.send("bye\n");
    connection.end();
  });
  const [nobody] = await freePorts(1);
  gateway = await Gateway.start({
    config: ({ port, admin }) => `
gateway:
  listeners: [{ name: web, host: 127.0.0.1, port: ${port[0]} }]
services:
  web: { endpoints: ["${web.address}"] }
  db: { endpoints: ["${database.address}"], protocol: tcp }
  announced: { endpoints: ["${database.address}"], protocol: tcp, proxyProtocol: v1 }
  idle: { endpoints: ["${database.address}"], protocol: tcp, policy: { idleTimeout: 200ms } }
  nobody: { endpoints: ["127.0.0.1:${nobody}"], protocol: tcp, policy: { retry: { attempts: 0 } } }
routes:
  - { name: db, hosts: [db.example.com], match: { methods: [CONNECT] }, to: db }
  - name: keyed
    hosts: [keyed.example.com]
    match: { methods: [CONNECT] }
    to: db
    plugins: [api-key]
  - { name: announced, hosts: [announced.example.com], match: { methods: [CONNECT] }, to: announced }
  - { name: idle, hosts: [idle.example.com], match: { methods: [CONNECT] }, to: idle }
  - { name: nobody, hosts: [nobody.example.com], match: { methods: [CONNECT] }, to: nobody }
  - { name: ping, hosts: [ping.example.com], respond: { status: 200, body: pong } }
  - { name: web, to: web }
admin: { address: "127.0.0.1:${admin}" }
observe: { accessLog: { format: json } }
workers: 1
`,
  });
});
after(async () => {
  await gateway.stop();
  await web.close();
  await database.close();
});

const asking = (host: string): string =>
  `CONNECT ${host}:5432 HTTP/1.1\r\nHost: ${host}:5432\r\n\r\n`;
const established = "HTTP/1.1 200 Connection established\r\n\r\n";

describe("over HTTP/1.1", () => {
  test("a route that lists CONNECT gives a tunnel, bytes that ride along included", async () => {
    using client = await gateway.connect();
    await client.send(`${asking("db.example.com")}early\n`);
    await client.has(established);
    await client.has("welcome\n");
    await client.has("early\n");
    client.end();
    assert.ok((await client.untilEnded()).endsWith("bye\n"));
    await eventually("the line", () =>
      /"method":"CONNECT"[^\n]*"requestBytes":6,"responseBytes":18,"route":"db"[^\n]*"end":"complete"/.test(
        gateway.stdout,
      ),
    );
  });

  test("a caller that has ended its side before the tunnel stood is heard to the end", async () => {
    using client = await gateway.connect();
    await client.send(`${asking("db.example.com")}all\n`);
    client.end();
    assert.match(await client.untilEnded(), /welcome\n[^]*bye\n$/);
  });

  test("without such a route there is none, whatever its host or its target", async () => {
    for (const host of ["web.example.com", "ping.example.com", "127.0.0.1"]) {
      using client = await gateway.connect();
      await client.send(`${asking(host)}GET / HTTP/1.1\r\nHost: x\r\n\r\n`);
      assert.equal((await client.response()).status, 501);
      // what would have been tunnelled is no request either
      await client.untilEnded();
      assert.equal(client.rest, "");
    }
    assert.equal(web.text, "");
  });

  test("plugins of the route are asked first", async () => {
    const count = database.connections.length;
    using client = await gateway.connect();
    await client.send(asking("keyed.example.com"));
    assert.equal((await client.response()).status, 401);
    assert.equal(database.connections.length, count);
  });

  test("other methods do not reach what is for CONNECT alone", async () => {
    using client = await gateway.connect();
    await client.send("GET / HTTP/1.1\r\nHost: db.example.com\r\n\r\n");
    // the next less specific route takes it
    assert.equal((await client.response()).body, "web");
  });

  test("an endpoint that refuses is 502", async () => {
    using client = await gateway.connect();
    await client.send(asking("nobody.example.com"));
    const answer = await client.response();
    assert.deepEqual([answer.status, answer.code], [502, "connect-refused"]);
  });

  test("the service is told who calls by a PROXY header", async () => {
    const count = database.connections.length;
    using client = await gateway.connect();
    await client.send(asking("announced.example.com"));
    await client.has("welcome\n");
    const { text } = database.connections[count]!;
    const header = parseProxyHeader(Buffer.from(text, "latin1"));
    assert.equal(header.kind === "header" && header.source?.port, client.socket.localPort);
  });

  test("a reset goes through, both ways", async () => {
    const count = database.connections.length;
    const client = await gateway.connect();
    await client.send(asking("db.example.com"));
    await client.has("welcome\n");
    client.reset();
    await database.connections[count]!.untilClosed();
    assert.equal(database.connections[count]!.error?.code, "ECONNRESET");
    using second = await gateway.connect();
    await second.send(asking("db.example.com"));
    await second.has("welcome\n");
    database.connections[count + 1]!.reset();
    await second.untilClosed();
    assert.equal(second.error?.code, "ECONNRESET");
  });

  test("no byte for the idle time ends it", async () => {
    using client = await gateway.connect();
    await client.send(asking("idle.example.com"));
    await client.has("welcome\n");
    await client.untilClosed();
    await eventually("the line", () =>
      /"method":"CONNECT"[^\n]*"responseBytes":8,"route":"idle"[^\n]*\(idleTimeout\)/.test(
        gateway.stdout,
      ),
    );
  });
});

describe("over HTTP/2 (RFC 9113 section 8.5)", () => {
  let session: http2.ClientHttp2Session;
  before(() => {
    session = http2.connect(`http://127.0.0.1:${gateway.port}`);
  });
  after(() => session.close());

  const open = (host: string): http2.ClientHttp2Stream =>
    session.request({ ":method": "CONNECT", ":authority": `${host}:5432` }, { endStream: false });

  async function statusOf(stream: http2.ClientHttp2Stream): Promise<number> {
    const [headers] = (await once(stream, "response")) as [http2.IncomingHttpHeaders];
    return Number(headers[":status"]);
  }

  /** With an error or without. */
  function closed(stream: http2.ClientHttp2Stream): Promise<void> {
    return new Promise((resolve) => stream.once("close", () => resolve()));
  }

  /** All of the stream's bytes until it contains `part`. */
  async function has(stream: http2.ClientHttp2Stream, part: string): Promise<void> {
    let text = "";
    while (!text.includes(part)) text += String((await once(stream, "data"))[0]);
  }

  test("a stream is a tunnel: bytes both ways, and each side ends on its own", async () => {
    const stream = open("db.example.com");
    stream.write("early\n");
    let text = "";
    stream.on("data", (chunk: Buffer) => (text += chunk.toString()));
    assert.equal(await statusOf(stream), 200);
    await eventually("what was sent", () => text.includes("early\n"));
    stream.end("last\n");
    await once(stream, "close");
    assert.match(text, /welcome\n[^]*last\n[^]*bye\n$/);
    await eventually("the line", () =>
      /"method":"CONNECT"[^\n]*"requestBytes":11,[^\n]*"end":"complete"/.test(gateway.stdout),
    );
  });

  test("beside it, requests go on on the same connection", async () => {
    const tunnel = open("db.example.com");
    await has(tunnel, "welcome\n");
    const stream = session.request({ ":path": "/", ":authority": "web.example.com" });
    let body = "";
    for await (const chunk of stream) body += String(chunk);
    assert.equal(body, "web");
    tunnel.end();
    tunnel.resume();
    await once(tunnel, "close");
  });

  test("without a route that lists CONNECT there is none", async () => {
    for (const host of ["web.example.com", "ping.example.com"]) {
      const stream = open(host);
      stream.on("error", () => {});
      assert.equal(await statusOf(stream), 501);
      stream.resume();
      stream.close();
      await once(stream, "close");
    }
  });

  test("a reset of the service is RST_STREAM with CONNECT_ERROR", async () => {
    const count = database.connections.length;
    const stream = open("db.example.com");
    stream.on("error", () => {});
    await has(stream, "welcome\n");
    database.connections[count]!.reset();
    await closed(stream);
    assert.equal(stream.rstCode, ErrorCode.connectError);
  });

  test("RST_STREAM is a reset of the connection to the service", async () => {
    const count = database.connections.length;
    // Node's own client would say that it has ended before it resets
    using client = await FrameClient.connect(gateway.port);
    const fields = block([":method", "CONNECT"], [":authority", "db.example.com:5432"]);
    client.send(frame(FrameType.headers, Flag.endHeaders, 1, fields));
    assert.equal(await client.status(1), 200);
    await client.next("the greeting", (one) => one.type === FrameType.data);
    client.send(frame(FrameType.rstStream, 0, 1, uint32(ErrorCode.cancel)));
    await database.connections[count]!.untilClosed();
    assert.equal(database.connections[count]!.error?.code, "ECONNRESET");
  });

  test("an endpoint that refuses is 502, a missing port a protocol error", async () => {
    const stream = open("nobody.example.com");
    assert.equal(await statusOf(stream), 502);
    stream.on("error", () => {});
    stream.resume();
    stream.close();
    const portless = session.request(
      { ":method": "CONNECT", ":authority": "db.example.com" },
      { endStream: false },
    );
    portless.on("error", () => {});
    await closed(portless);
    assert.equal(portless.rstCode, ErrorCode.protocolError);
  });

  test("megabytes arrive whole under flow control", async () => {
    const stream = open("db.example.com");
    const bytes = Buffer.alloc(3 * 1024 * 1024, 0x62);
    let count = 0;
    stream.on("data", (chunk: Buffer) => (count += chunk.length));
    stream.end(bytes);
    await once(stream, "close");
    assert.equal(count, "welcome\n".length + bytes.length + "bye\n".length);
  });
});

test("every tunnel is gone in the end", async () => {
  await eventually("no tunnel to be open", async () => {
    return (await gateway.metric("weft_connections", { side: "upstream" })) <= 1;
  });
  await eventually("no exchange to run", async () => {
    return (await gateway.metric("weft_active_requests")) === 0;
  });
  using client = await RawClient.connect(gateway.port);
  await client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  assert.equal((await client.response()).status, 200);
});
