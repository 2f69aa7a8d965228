/** CONNECT between sidecars and at their outbound port: tunnels to services, through mTLS or, where that is off, plain. */

import assert from "node:assert/strict";
import { once } from "node:events";
import fs from "node:fs";
import http2 from "node:http2";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { createAuthority, issueCertificate } from "../../control/authority/authority.ts";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";
import { answering, ok, Origin } from "../support/origin.ts";
import { freePorts } from "../support/ports.ts";

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "weft-connect-"));
let app: Origin;
let database: net.Server;
let orders: Gateway;
let web: Gateway;
let ledger: Gateway;
let edge: Gateway;
let batch: Gateway;

before(async () => {
  app = await Origin.start(answering(() => ok("orders")));
  database = net.createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => {});
    socket.write("welcome\n");
    socket.on("data", (chunk) => socket.write(chunk));
    socket.on("end", () => socket.end("bye\n"));
  });
  database.listen(0, "127.0.0.1");
  await once(database, "listening");
  await createAuthority(folder, "weft.local");
  for (const service of ["web", "orders", "ledger", "edge", "batch"])
    await issueCertificate({ service, ca: folder, out: folder });
  const identity = (name: string): string =>
    `{ cert: ${folder}/${name}.crt, key: ${folder}/${name}.key, bundle: ${folder}/bundle.crt }`;
  const [nobody] = await freePorts(1);
  orders = await Gateway.start({
    mode: "mesh",
    ports: 2,
    config: ({ port, admin }) => `
mesh:
  service: orders
  app: ${app.address}
  outbound: 127.0.0.1:${port[0]}
  inbound: 127.0.0.1:${port[1]}
  identity: ${identity("orders")}
access: { rules: [{ to: orders, from: [web], methods: [GET] }] }
admin: { address: "127.0.0.1:${admin}" }
workers: 1
`,
  });
  ledger = await Gateway.start({
    mode: "mesh",
    ports: 2,
    config: ({ port, admin }) => `
mesh:
  service: ledger
  app: 127.0.0.1:${(database.address() as net.AddressInfo).port}
  outbound: 127.0.0.1:${port[0]}
  inbound: 127.0.0.1:${port[1]}
  identity: ${identity("ledger")}
access:
  rules:
    - { to: ledger, from: [web, edge], methods: [CONNECT] }
    - { to: ledger, from: [batch] }
admin: { address: "127.0.0.1:${admin}" }
observe: { accessLog: { format: json } }
workers: 1
`,
  });
  const edgeOf = (name: string): Promise<Gateway> =>
    Gateway.start({
      config: ({ port, admin }) => `
gateway:
  listeners: [{ name: ledger, host: 127.0.0.1, port: ${port[0]}, protocol: tcp, to: ledger }]
mesh: { service: ${name}, identity: ${identity(name)} }
services:
  ledger: { endpoints: ["127.0.0.1:${ledger.ports[1]}"], protocol: tcp, mtls: true }
admin: { address: "127.0.0.1:${admin}" }
observe: { accessLog: { format: json } }
workers: 1
`,
    });
  edge = await edgeOf("edge");
  batch = await edgeOf("batch");
  web = await Gateway.start({
    mode: "mesh",
    ports: 2,
    config: ({ port, admin }) => `
mesh:
  service: web
  app: 127.0.0.1:1
  outbound: 127.0.0.1:${port[0]}
  inbound: 127.0.0.1:${port[1]}
  identity: ${identity("web")}
services:
  orders: { endpoints: ["127.0.0.1:${orders.ports[1]}"] }
  database: { endpoints: ["127.0.0.1:${(database.address() as net.AddressInfo).port}"], mtls: false }
  ledger: { endpoints: ["127.0.0.1:${ledger.ports[1]}"], protocol: tcp }
  nobody: { endpoints: ["127.0.0.1:${nobody}"], mtls: false }
admin: { address: "127.0.0.1:${admin}" }
workers: 1
`,
  });
});
after(async () => {
  await web?.stop();
  await orders?.stop();
  await ledger?.stop();
  await edge?.stop();
  await batch?.stop();
  await app.close();
  database.close();
  fs.rmSync(folder, { recursive: true, force: true });
});

test("a service that speaks first, with bytes that ride along, half-closes and all", async () => {
  using client = await web.connect();
  await client.send("CONNECT database:5432 HTTP/1.1\r\nHost: database:5432\r\n\r\nearly\n");
  await client.has("HTTP/1.1 200 Connection established\r\n\r\n");
  await client.has("welcome\n");
  await client.has("early\n");
  await client.send("more\n");
  await client.has("more\n");
  client.end();
  assert.ok((await client.untilEnded()).endsWith("bye\n"));
});

test("a peer: what is said inside goes through mTLS, and its rules hold", async () => {
  using client = await web.connect();
  await client.send("CONNECT orders:80 HTTP/1.1\r\nHost: orders:80\r\n\r\n");
  await client.response({ noBody: true });
  await client.send("GET /1 HTTP/1.1\r\nHost: orders\r\n\r\n");
  assert.equal((await client.response()).body, "orders");
  assert.match(app.text, /x-weft-peer: spiffe:\/\/weft\.local\/service\/web/i);
  await client.send("DELETE /1 HTTP/1.1\r\nHost: orders\r\n\r\n");
  assert.equal((await client.response()).status, 403);
});

test("a name that is no service is 404, an endpoint that refuses is 502", async () => {
  using first = await web.connect();
  await first.send("CONNECT unknown:80 HTTP/1.1\r\nHost: unknown:80\r\n\r\n");
  assert.equal((await first.response()).status, 404);
  using second = await web.connect();
  await second.send("CONNECT nobody:80 HTTP/1.1\r\nHost: nobody:80\r\n\r\n");
  const answer = await second.response();
  assert.deepEqual([answer.status, answer.code], [502, "connect-refused"]);
});

test("a sidecar's inbound port offers none", async () => {
  using client = await web.connect();
  await client.send("CONNECT orders:80 HTTP/1.1\r\nHost: orders:80\r\n\r\n");
  await client.response({ noBody: true });
  await client.send("CONNECT other:80 HTTP/1.1\r\nHost: other:80\r\n\r\n");
  assert.ok((await client.response()).status >= 400);
});

/** The tunnel to a service by HTTP/2 at the outbound port of web: everything it says, once it has ended. */
async function overHttp2(service: string, says: string): Promise<string> {
  const session = http2.connect(`http://127.0.0.1:${web.port}`);
  try {
    const stream = session.request(
      { ":method": "CONNECT", ":authority": `${service}:5432` },
      { endStream: false },
    );
    let text = "";
    stream.on("data", (chunk: Buffer) => (text += chunk.toString()));
    const [headers] = (await once(stream, "response")) as [http2.IncomingHttpHeaders];
    assert.equal(headers[":status"], 200);
    stream.end(says);
    await once(stream, "close");
    return text;
  } finally {
    session.close();
  }
}

test("over HTTP/2 (RFC 9113 section 8.5), a stream is a tunnel", async () => {
  assert.equal(await overHttp2("database", "select 1\n"), "welcome\nselect 1\nbye\n");
});

test("to a peer that speaks no HTTP: from sidecar to sidecar, whatever the app speaks to its own", async () => {
  using client = await web.connect();
  await client.send("CONNECT ledger:5432 HTTP/1.1\r\nHost: ledger:5432\r\n\r\nearly\n");
  await client.has("HTTP/1.1 200 Connection established\r\n\r\n");
  await client.has("welcome\n");
  await client.has("early\n");
  client.end();
  assert.ok((await client.untilEnded()).endsWith("bye\n"));
  assert.equal(await overHttp2("ledger", "select 2\n"), "welcome\nselect 2\nbye\n");
  await eventually("the callee's line", () =>
    /"method":"CONNECT"[^\n]*"end":"complete","peer":"spiffe:\/\/weft\.local\/service\/web"/.test(
      ledger.stdout,
    ),
  );
});

test("a TCP listener of a gateway reaches it the same way, megabytes and half-closes included", async () => {
  using client = await edge.connect();
  await client.has("welcome\n");
  const bytes = "x".repeat(2 * 1024 * 1024);
  await client.send(bytes);
  client.end();
  assert.equal(await client.untilEnded(), `welcome\n${bytes}bye\n`);
});

test("a rule has to list CONNECT: one for every method allows no tunnel", async () => {
  const client = await batch.connect().catch(() => null);
  await client?.untilClosed();
  assert.equal(client?.text ?? "", "");
  await eventually("the line", () =>
    /"code":"forbidden"[^\n]*answered CONNECT with 403/.test(batch.stdout),
  );
  assert.equal(
    await batch.metric("weft_retries_total", { service: "ledger" }),
    0,
    "a refusal is no reason to try again",
  );
});
