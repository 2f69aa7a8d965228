/** HTTP over TLS on both sides, in pieces, in bulk and cut off: the same as in plain text. */

import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import tls from "node:tls";
import { createAuthority, issueCertificate } from "../../control/authority/authority.ts";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";
import { Origin } from "../support/origin.ts";
import type { OriginConnection, Script } from "../support/origin.ts";
import { RawClient } from "../support/raw-client.ts";

const work = fs.mkdtempSync(path.join(os.tmpdir(), "weft-tls-"));
const file = (name: string) => path.join(work, name);
let origin: Origin;
let puzzled: Origin;
let gateway: Gateway;

/** Answers each request with its body, chunked; dies in the middle of the answer to `/cut`. */
const echo: Script = async (connection: OriginConnection) => {
  for (;;) {
    const request = await connection.request();
    if (request === null) return connection.end();
    if (request.start.includes("/cut")) {
      connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nstart\r\n");
      setImmediate(() => connection.socket.destroy());
      return;
    }
    const { body } = request;
    const chunk = body === "" ? "" : `${body.length.toString(16)}\r\n${body}\r\n`;
    connection.send(
      `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${chunk}0\r\nX-T: 1\r\n\r\n`,
    );
  }
};

before(async () => {
  await createAuthority(file("ca"), "weft.local");
  for (const [service, name] of [
    ["api", "api.example.com"],
    ["wild", "*.shop.example.com"],
    ["orders", "orders.internal"],
  ] as const) {
    await issueCertificate({ service, ca: file("ca"), out: work, dnsNames: [name] });
  }
  origin = await Origin.start(echo, {
    tls: { cert: fs.readFileSync(file("orders.crt")), key: fs.readFileSync(file("orders.key")) },
  });
  puzzled = await Origin.start(async (connection) => {
    await connection.bytes(1);
    connection.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
  });
  const pair = (name: string) => `{ cert: ${file(`${name}.crt`)}, key: ${file(`${name}.key`)} }`;
  const trust = `tls: { ca: ${file("ca/ca.crt")}, serverName: orders.internal }, policy: { retry: { attempts: 0 } }`;
  gateway = await Gateway.start({
    config: ({ port, admin }) => `
gateway:
  listeners: [{ name: secure, host: 127.0.0.1, port: ${port[0]}, tls: { certificates: [${pair("api")}, ${pair("wild")}] } }]
services:
  orders: { endpoints: ["${origin.address}"], ${trust} }
  puzzled: { endpoints: ["${puzzled.address}"], ${trust} }
routes:
  - { name: puzzled, match: { path: /puzzled }, to: puzzled }
  - { name: orders, to: orders }
admin: { address: "127.0.0.1:${admin}" }
workers: 2
`,
  });
});
after(async () => {
  await gateway?.stop();
  await origin?.close();
  await puzzled?.close();
  fs.rmSync(work, { recursive: true, force: true });
});

const call = (options: tls.ConnectionOptions = {}) =>
  RawClient.connect(gateway.port, { tls: { servername: "api.example.com", ...options } });
const head = (start: string, ...lines: string[]) =>
  `${start} HTTP/1.1\r\nHost: api.example.com\r\n${lines.map((line) => `${line}\r\n`).join("")}\r\n`;

for (const pieces of ["whole", "bytes"] as const) {
  test(`chunked bodies and trailers go through TLS on both sides, sent ${pieces}`, async () => {
    using client = await call();
    assert.equal((client.socket as tls.TLSSocket).getProtocol(), "TLSv1.3");
    const text = `${head("POST /", "Transfer-Encoding: chunked")}5\r\nhello\r\n3\r\nabc\r\n0\r\nX-R: 2\r\n\r\n`;
    for (let i = 0; i < 2; i++) {
      await client.send(text, pieces);
      const answer = await client.response();
      assert.equal(answer.body, "helloabc");
      assert.deepEqual(answer.message.trailers, [["X-T", "1"]]);
    }
    assert.match(origin.text, /x-forwarded-proto: https\r\n/);
    assert.match(origin.text, /X-R: 2\r\n/);
  });
}

test("half a megabyte passes both ways over TLS, pipelined with the next request", async () => {
  const body = Buffer.from(
    Array.from({ length: 500_000 }, (_, i) => (i * 13 + (i >> 7)) & 255),
  ).toString("latin1");
  using client = await call();
  await client.send(`${head("POST /", `Content-Length: ${body.length}`)}${body}${head("GET /")}`);
  assert.ok((await client.response()).body === body);
  assert.equal((await client.response()).status, 200);
});

test("wildcards and capitals in the name asked for find their certificate", async () => {
  for (const servername of ["a.shop.example.com", "B.Shop.EXAMPLE.com"]) {
    using client = await call({ servername });
    const names = (client.socket as tls.TLSSocket).getPeerCertificate().subjectaltname;
    assert.match(names ?? "", /DNS:\*\.shop\.example\.com/);
  }
});

test("garbage in place of a handshake harms nobody", async () => {
  for (const text of [
    "\x16\x03\x01\xff\xff" + "\0".repeat(500),
    "\x80\x2e\x01\x03\x01",
    "\0\0\0\0",
    "\x16",
  ]) {
    using client = await RawClient.connect(gateway.port);
    await client.send(text);
    client.end();
    await client.untilEnded();
  }
  using next = await call();
  await next.send(head("GET /"));
  assert.equal((await next.response()).status, 200);
});

test("a session is resumed by whichever worker thread answers", async () => {
  let session: Buffer | undefined;
  using first = await call();
  first.socket.on("session", (ticket: Buffer) => (session = ticket));
  await first.send(head("GET /"));
  await first.response();
  await eventually("a session ticket", () => session);
  for (let i = 0; i < 6; i++) {
    using again = await call({ session: session! });
    assert.equal((again.socket as tls.TLSSocket).isSessionReused(), true);
  }
});

test("callers that are cut off anywhere leave nothing behind", async () => {
  for (let i = 0; i < 30; i++) {
    const client = await call();
    await client.send(head("POST /", "Content-Length: 5").slice(0, 5 * i));
    client.reset();
  }
  for (let i = 0; i < 30; i++) {
    const client = await RawClient.connect(gateway.port);
    await client.send("\x16\x03\x01\x02\x00\x01".slice(0, i % 7));
    client.reset();
  }
  await eventually(
    "no active request",
    async () => (await gateway.metric("weft_active_requests")) === 0,
  );
  await eventually(
    "no connection",
    async () => (await gateway.metric("weft_connections", { side: "downstream" })) === 0,
  );
});

test("an endpoint that is cut off in the middle of its answer: the caller sees the cut", async () => {
  using client = await call();
  await client.send(head("POST /cut", "Content-Length: 0"));
  const text = await client.untilEnded();
  assert.ok(!text.endsWith("0\r\n\r\n"), text);
});

test("an endpoint that does not speak TLS is 502 upstream-tls", async () => {
  using client = await call();
  await client.send(head("GET /puzzled"));
  const answer = await client.response();
  assert.equal(answer.status, 502);
  assert.equal(answer.code, "upstream-tls");
});
