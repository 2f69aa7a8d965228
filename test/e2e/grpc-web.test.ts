/** gRPC-Web callers before gRPC services: binary and text, over HTTP/1.1 and HTTP/2, and errors of both sides. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import * as grpc from "@grpc/grpc-js";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";
import { EchoServer } from "../support/grpc.ts";
import { answering, ok, Origin } from "../support/origin.ts";
import { freePorts } from "../support/ports.ts";
import { block, Flag, frame, FrameClient, FrameType } from "../proxy/http2/frame-client.ts";

let gateway: Gateway;
let echo: EchoServer;
let old: Origin;
/** Takes connections and says nothing. */
let silent: Origin;

before(async () => {
  echo = await EchoServer.start({
    unary: (call, done) => {
      if (call.request.toString() === "fail")
        done({ code: 9, details: "not now" } as grpc.ServiceError);
      else done(null, call.request);
    },
  });
  old = await Origin.start(
    answering(({ body }) => ok(body, "Content-Type: application/grpc-web\r\n")),
  );
  silent = await Origin.start(() => {});
  const [nobody] = await freePorts(1);
  gateway = await Gateway.start({
    config: ({ port, admin }) => `
gateway: { listeners: [{ name: web, host: 127.0.0.1, port: ${port[0]} }] }
services:
  echo: { endpoints: ["127.0.0.1:${echo.port}"], protocol: http2 }
  old: { endpoints: ["${old.address}"] }
  auto-one: { endpoints: ["127.0.0.1:${echo.port}"], protocol: auto }
  auto-two: { endpoints: ["127.0.0.1:${nobody}", "127.0.0.1:${echo.port}"], protocol: auto }
  auto-old: { endpoints: ["${old.address}"], protocol: auto }
  auto-silent: { endpoints: ["${silent.address}"], protocol: auto }
  auto-none: { endpoints: ["127.0.0.1:${nobody}"], protocol: auto }
routes:
  - { name: auto-one, hosts: [auto-one.test], to: auto-one }
  - { name: auto-two, hosts: [auto-two.test], to: auto-two }
  - { name: auto-old, hosts: [auto-old.test], to: auto-old }
  - { name: auto-silent, hosts: [auto-silent.test], to: auto-silent }
  - { name: auto-none, hosts: [auto-none.test], to: auto-none }
  - { name: echo, hosts: [echo.test], to: echo }
  - { name: old, hosts: [old.test], to: old }
  - { name: keyed, hosts: [keyed.test], to: echo, plugins: [{ api-key: {} }] }
admin: { address: "127.0.0.1:${admin}" }
workers: 1
`,
  });
});
after(async () => {
  await gateway.stop();
  echo.stop();
  await old.close();
  await silent.close();
});

/** One frame of the protocol. */
function message(text: string | Uint8Array, flags = 0): Buffer {
  const head = Buffer.alloc(5);
  head[0] = flags;
  head.writeUInt32BE(text.length, 1);
  return Buffer.concat([head, typeof text === "string" ? Buffer.from(text) : text]);
}

/** The messages of a body, and its trailers. */
function read(body: Buffer): { messages: string[]; trailers: string } {
  const messages: string[] = [];
  let trailers = "";
  for (let at = 0; at < body.length;) {
    const end = at + 5 + body.readUInt32BE(at + 1);
    const text = body.toString("latin1", at + 5, end);
    if (body[at]! >= 0x80) trailers += text;
    else messages.push(text);
    at = end;
  }
  return { messages, trailers };
}

async function call(host: string, path: string, type: string, body: Buffer | string) {
  const bytes = Buffer.from(body);
  using client = await gateway.connect();
  await client.send(
    Buffer.concat([
      Buffer.from(
        `POST ${path} HTTP/1.1\r\nHost: ${host}\r\nContent-Type: ${type}\r\nX-Grpc-Web: 1\r\nContent-Length: ${bytes.length}\r\n\r\n`,
      ),
      bytes,
    ]),
  );
  return await client.response();
}

/** Base64 that may be padded in several places. */
function decode(text: string): Buffer {
  return Buffer.concat(text.split(/(?<==)(?=[^=])/).map((part) => Buffer.from(part, "base64")));
}

describe("a binary caller:", () => {
  const type = "application/grpc-web+proto";

  test("gets the messages and the trailers as the last frame", async () => {
    const answer = await call("echo.test", "/test.Echo/Unary", type, message("hello"));
    assert.equal(answer.status, 200);
    assert.equal(answer.header("content-type"), type);
    const { messages, trailers } = read(Buffer.from(answer.body, "latin1"));
    assert.deepEqual(messages, ["hello"]);
    assert.match(trailers, /^grpc-status: 0\r\n/m);
    assert.equal(echo.metadata.at(-1)!.getMap()["content-type"], undefined);
  });

  test("gets a stream of messages", async () => {
    const answer = await call("echo.test", "/test.Echo/Download", type, message("100"));
    const { messages, trailers } = read(Buffer.from(answer.body, "latin1"));
    assert.equal(messages.length, 100);
    assert.match(trailers, /grpc-status: 0/);
  });

  test("gets the service's own error", async () => {
    const answer = await call("echo.test", "/test.Echo/Unary", type, message("fail"));
    assert.equal(answer.status, 200);
    const said = answer.header("grpc-status") ?? read(Buffer.from(answer.body, "latin1")).trailers;
    assert.match(said, /9/);
  });

  test("gets an error of ours in its own type", async () => {
    const answer = await call("keyed.test", "/test.Echo/Unary", type, message("x"));
    assert.equal(answer.status, 200);
    assert.equal(answer.header("content-type"), type);
    assert.equal(answer.header("grpc-status"), "16");
  });

  test("the same over HTTP/2", async () => {
    using client = await FrameClient.connect(gateway.port);
    const head = block(
      [":method", "POST"],
      [":scheme", "http"],
      [":path", "/test.Echo/Unary"],
      [":authority", "echo.test"],
      ["content-type", type],
    );
    client.send(frame(FrameType.headers, Flag.endHeaders, 1, head));
    client.send(frame(FrameType.data, Flag.endStream, 1, message("x")));
    assert.equal((await client.head(1)).get("content-type"), type);
    assert.deepEqual(read(await client.body(1)).messages, ["x"]);
  });
});

describe("a text caller:", () => {
  const type = "application/grpc-web-text";

  test("sends and gets base64", async () => {
    const body = message("hello there").toString("base64");
    const answer = await call("echo.test", "/test.Echo/Unary", type, body);
    assert.equal(answer.header("content-type"), type);
    const { messages, trailers } = read(decode(answer.body));
    assert.deepEqual(messages, ["hello there"]);
    assert.match(trailers, /^grpc-status: 0\r\n/m);
  });

  test("may pad each message on its own", async () => {
    const body = message("a").toString("base64") + message("bcd").toString("base64");
    const answer = await call("echo.test", "/test.Echo/Upload", type, body);
    assert.deepEqual(read(decode(answer.body)).messages, ["4"]);
  });

  test("that sends no base64 gets status 3", async () => {
    const answer = await call("echo.test", "/test.Echo/Unary", type, "%%%%");
    assert.equal(answer.header("grpc-status"), "3");
    assert.equal(answer.header("content-type"), type);
  });

  test("byte by byte", async () => {
    const body = message("piecemeal").toString("base64");
    using client = await gateway.connect();
    await client.send(
      `POST /test.Echo/Unary HTTP/1.1\r\nHost: echo.test\r\nContent-Type: ${type}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      "bytes",
    );
    const answer = await client.response();
    assert.deepEqual(read(decode(answer.body)).messages, ["piecemeal"]);
  });
});

test("a service of HTTP/1.1 gets gRPC-Web as it came", async () => {
  const answer = await call(
    "old.test",
    "/test.Echo/Unary",
    "application/grpc-web",
    message("as is"),
  );
  assert.deepEqual(read(Buffer.from(answer.body, "latin1")).messages, ["as is"]);
  assert.match(old.text, /content-type: application\/grpc-web\r\n/i);
});

describe("a service that says `protocol: auto`", () => {
  const binary = "application/grpc-web+proto";
  const text = "application/grpc-web-text";

  for (const when of ["is asked what it speaks before the first call", "has told by then"])
    test(`${when}: a binary call becomes gRPC`, async () => {
      const answer = await call("auto-one.test", "/test.Echo/Unary", binary, message("hello"));
      assert.equal(answer.header("content-type"), binary);
      const { messages, trailers } = read(Buffer.from(answer.body, "latin1"));
      assert.deepEqual(messages, ["hello"]);
      assert.match(trailers, /^grpc-status: 0\r\n/m);
    });

  test("is asked at its second endpoint where the first is not there: a text call becomes gRPC", async () => {
    const answer = await call(
      "auto-two.test",
      "/test.Echo/Unary",
      text,
      message("hello").toString("base64"),
    );
    assert.equal(answer.header("content-type"), text);
    assert.deepEqual(read(decode(answer.body)).messages, ["hello"]);
  });

  test("and speaks HTTP/1.1 gets gRPC-Web as it came", async () => {
    const answer = await call("auto-old.test", "/test.Echo/Unary", binary, message("as is"));
    assert.deepEqual(read(Buffer.from(answer.body, "latin1")).messages, ["as is"]);
  });

  test("and is not there is status 14", async () => {
    const answer = await call("auto-none.test", "/test.Echo/Unary", binary, message("x"));
    assert.equal(answer.header("grpc-status"), "14");
    assert.equal(answer.header("content-type"), binary);
  });

  test("a caller that leaves while it is asked leaves nothing behind", async () => {
    using client = await gateway.connect();
    await client.send(
      `POST /test.Echo/Unary HTTP/1.1\r\nHost: auto-silent.test\r\nContent-Type: ${binary}\r\nContent-Length: 100\r\n\r\n`,
    );
    await silent.connection();
    client.destroy();
    await eventually(
      "no exchange",
      async () => (await gateway.metric("weft_active_requests")) === 0,
    );
  });
});
