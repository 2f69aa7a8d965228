/** TLS that ends at a tcp listener: certificates by server name, callers' certificates, plain bytes to the service. */

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import tls from "node:tls";
import { parseProxyHeader } from "../../proxy/listen/proxy-protocol.ts";
import { signed, testAuthority, type Pair, type TestAuthority } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";
import { Origin } from "../support/origin.ts";
import { RawClient } from "../support/raw-client.ts";

let authority: TestAuthority;
let caller: Pair;
let gateway: Gateway;
let origin: Origin;

before(async () => {
  authority = await testAuthority();
  const [db, cache] = await Promise.all(
    ["db.example.com", "cache.example.com"].map((name) => signed(authority, { dns: [name] })),
  );
  caller = await signed(authority, { commonName: "batch" });
  origin = await Origin.start(async (connection) => {
    connection.send("welcome\n");
    connection.socket.on("data", (chunk: Buffer) => connection.socket.write(chunk));
    await connection.untilEnded();
    connection.send("bye\n");
    connection.end();
  });
  gateway = await Gateway.start({
    ports: 3,
    files: {
      "db.crt": db!.cert,
      "db.key": db!.key,
      "cache.crt": cache!.cert,
      "cache.key": cache!.key,
      "ca.crt": authority.cert,
    },
    config: ({ port, admin }) => `
gateway:
  listeners:
    - name: open
      host: 127.0.0.1
      port: ${port[0]}
      protocol: tcp
      to: db
      tls: { certificates: [{ cert: db.crt, key: db.key }, { cert: cache.crt, key: cache.key }] }
    - name: known
      host: 127.0.0.1
      port: ${port[1]}
      protocol: tcp
      to: announced
      tls:
        certificates: [{ cert: db.crt, key: db.key }]
        clientAuth: { ca: ca.crt, mode: require }
    - name: behind
      host: 127.0.0.1
      port: ${port[2]}
      protocol: tcp
      to: announced
      proxyProtocol: true
      tls: { certificates: [{ cert: db.crt, key: db.key }] }
services:
  db: { endpoints: ["${origin.address}"], protocol: tcp }
  announced: { endpoints: ["${origin.address}"], protocol: tcp, proxyProtocol: v2 }
admin: { address: "127.0.0.1:${admin}" }
observe: { accessLog: { format: json } }
workers: 1
`,
  });
});
after(async () => {
  await gateway.stop();
  await origin.close();
});

function connect(port: number, options: tls.ConnectionOptions = {}): Promise<RawClient> {
  const name = options.servername ?? "db.example.com";
  return RawClient.connect(port, {
    tls: { ca: authority.cert, rejectUnauthorized: true, servername: name, ...options },
  });
}

/** The header that the newest connection to the service began with, and what it says besides the addresses. */
async function announced(): Promise<{ bytes: Buffer; text: string }> {
  const connection = origin.connections.at(-1)!;
  await connection.bytes(16);
  const bytes = Buffer.from(connection.text, "latin1");
  return { bytes, text: connection.text };
}

test("plain bytes go both ways, the service may speak first, and half-closes go through", async () => {
  using client = await connect(gateway.ports[0]!);
  await client.has("welcome\n");
  await client.send("hello\n");
  await client.has("hello\n");
  assert.match(origin.text, /hello\n/);
  client.end();
  assert.ok((await client.untilEnded()).endsWith("bye\n"));
});

test("the certificate is the one of the server name", async () => {
  for (const name of ["db.example.com", "cache.example.com"]) {
    // verified against the name: another certificate would fail
    using client = await connect(gateway.ports[0]!, { servername: name });
    await client.has("welcome\n");
  }
  await assert.rejects(connect(gateway.ports[0]!, { servername: "other.example.com" }));
});

test("what a client asks for by ALPN is the service's affair, and no reason to refuse it", async () => {
  using client = await connect(gateway.ports[0]!, { ALPNProtocols: ["postgresql"] });
  await client.has("welcome\n");
  assert.equal((client.socket as tls.TLSSocket).alpnProtocol, false);
});

test("megabytes arrive whole through TLS", async () => {
  using client = await connect(gateway.ports[0]!);
  const bytes = Buffer.alloc(3 * 1024 * 1024);
  for (let i = 0; i < bytes.length; i++) bytes[i] = i % 251;
  await client.send(bytes);
  client.end();
  const got = Buffer.from(await client.untilEnded(), "latin1");
  assert.ok(got.subarray(8, 8 + bytes.length).equals(bytes));
});

test("without a certificate that is wanted there is no connection, with one there is", async () => {
  const count = origin.connections.length;
  // TLS 1.3: the refusal comes after the client's side of the handshake
  const refused = await connect(gateway.ports[1]!).catch((error: Error) => error);
  if (refused instanceof RawClient) {
    assert.equal(await refused.untilEnded(), "");
    refused.destroy();
  }
  assert.equal(origin.connections.length, count);
  await eventually("the refusal to be counted", async () => {
    return (await gateway.metric("weft_peers_refused_total", { reason: "no-certificate" })) >= 1;
  });
  using client = await connect(gateway.ports[1]!, caller);
  await client.has("welcome\n");
  const { bytes, text } = await announced();
  assert.equal(parseProxyHeader(bytes).kind, "header");
  assert.match(text, /db\.example\.com/);
  assert.match(text, /TLSv1\.3/);
  // the common name of the verified certificate
  assert.match(text, /batch/);
});

test("a certificate of a stranger is refused", async () => {
  const count = origin.connections.length;
  const stranger = await signed(await testAuthority());
  const refused = await connect(gateway.ports[1]!, stranger).catch((error: Error) => error);
  if (refused instanceof RawClient) {
    assert.equal(await refused.untilEnded(), "");
    refused.destroy();
  }
  assert.equal(origin.connections.length, count);
});

test("a PROXY header in front of TLS is read, and the caller that it names handed on", async () => {
  const plain = await RawClient.connect(gateway.ports[2]!);
  await plain.send("PROXY TCP4 192.0.2.9 198.51.100.1 4711 6432\r\n");
  const secure = tls.connect({ socket: plain.socket, rejectUnauthorized: false });
  await new Promise<void>((resolve) => secure.once("data", () => resolve()));
  const { bytes } = await announced();
  const header = parseProxyHeader(bytes);
  const to = { address: "198.51.100.1", port: 6432 };
  assert.deepEqual(header.kind === "header" && header.source, {
    address: "192.0.2.9",
    port: 4711,
    to,
  });
  secure.destroy();
});

test("a reset of the service ends the caller's connection too, and is logged as what it was", async () => {
  using client = await connect(gateway.ports[0]!);
  await client.has("welcome\n");
  origin.connections.at(-1)!.reset();
  assert.ok(!(await client.untilEnded()).includes("bye"));
  await eventually("the line", () => /"end":"upstream-aborted"/.test(gateway.stdout));
});

test("new certificates reach new connections, and old connections go on", async () => {
  using old = await connect(gateway.ports[0]!);
  await old.has("welcome\n");
  const fresh = await signed(authority, { dns: ["db.example.com"], commonName: "second" });
  writeFileSync(path.join(gateway.folder, "db.key"), fresh.key);
  writeFileSync(path.join(gateway.folder, "db.crt"), fresh.cert);
  await eventually("the new certificate", async () => {
    try {
      using client = await connect(gateway.ports[0]!);
      return (client.socket as tls.TLSSocket).getPeerCertificate().subject.CN === "second";
    } catch {
      return false;
    }
  });
  await old.send("still\n");
  await old.has("still\n");
});

test("plain HTTP on it is told so, and reaches no service", async () => {
  const count = origin.connections.length;
  using client = await RawClient.connect(gateway.ports[0]!);
  await client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  assert.equal((await client.response()).status, 400);
  assert.equal(origin.connections.length, count);
});
