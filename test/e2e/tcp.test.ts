/** Connections that carry no HTTP: balanced, half-closes kept, TLS passed through by its server name. */

import assert from "node:assert/strict";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import tls from "node:tls";
import { after, before, describe, test } from "node:test";
import { createAuthority, issueCertificate } from "../../control/authority/authority.ts";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";

/** Says hello first, then repeats what it hears until the caller has sent its last byte; then says goodbye. */
function chatty(name: string): Promise<net.Server> {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => {});
    socket.write(`${name}\n`);
    socket.on("data", (chunk) => socket.write(chunk));
    socket.on("end", () => socket.end("bye\n"));
  });
  return listening(server);
}

function listening<T extends net.Server>(server: T): Promise<T> {
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

function portOf(server: net.Server): number {
  return (server.address() as net.AddressInfo).port;
}

/** Everything until the end, after sending `bytes` and FIN. */
function talk(port: number, bytes: string | Uint8Array): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const parts: Uint8Array[] = [];
    const socket = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    socket.on("error", reject);
    socket.on("data", (chunk: Buffer) => parts.push(chunk));
    socket.on("end", () => {
      socket.destroy();
      resolve(Buffer.concat(parts));
    });
    socket.end(bytes);
  });
}

/** The common name that a server shows under this server name, or why the handshake failed. */
function whoAnswers(port: number, servername: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = tls.connect({ port, host: "127.0.0.1", servername, rejectUnauthorized: false });
    socket.on("secureConnect", () => {
      resolve(String(socket.getPeerCertificate().subjectaltname));
      socket.destroy();
    });
    socket.on("error", (error) => resolve(`refused: ${error.message}`));
  });
}

describe("tcp listeners:", () => {
  let first: net.Server;
  let second: net.Server;
  let a: tls.Server;
  let b: tls.Server;
  let gateway: Gateway;
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "weft-tcp-"));

  before(async () => {
    [first, second] = await Promise.all([chatty("first"), chatty("second")]);
    await createAuthority(folder, "weft.local");
    const server = async (service: string): Promise<tls.Server> => {
      await issueCertificate({ service, ca: folder, out: folder });
      const cert = fs.readFileSync(path.join(folder, `${service}.crt`));
      const key = fs.readFileSync(path.join(folder, `${service}.key`));
      const made = tls.createServer({ cert, key }, (socket) => socket.on("error", () => {}));
      made.on("tlsClientError", () => {});
      return listening(made);
    };
    a = await server("a");
    b = await server("b");
    gateway = await Gateway.start({
      ports: 3,
      config: ({ port, admin }) => `
gateway:
  listeners:
    - { name: pair, host: 127.0.0.1, port: ${port[0]}, protocol: tcp, to: pair }
    - { name: half, host: 127.0.0.1, port: ${port[1]}, protocol: tcp, to: half }
    - name: through
      host: 127.0.0.1
      port: ${port[2]}
      protocol: tls
      sni: { "a.example.com": a, "*.b.example.com": b }
services:
  pair: { endpoints: ["127.0.0.1:${portOf(first)}", "127.0.0.1:${portOf(second)}"], protocol: tcp, policy: { balance: round-robin } }
  half: { endpoints: ["127.0.0.1:1", "127.0.0.1:${portOf(first)}"], protocol: tcp }
  a: { endpoints: ["127.0.0.1:${portOf(a)}"] }
  b: { endpoints: ["127.0.0.1:${portOf(b)}"] }
admin: { address: "127.0.0.1:${admin}" }
observe: { accessLog: { format: json } }
workers: 1
`,
    });
  });

  after(async () => {
    await gateway.stop();
    for (const server of [first, second, a, b]) server.close();
    fs.rmSync(folder, { recursive: true });
  });

  test("bytes go both ways, and a half-closed caller still hears the end", async () => {
    const got = (await talk(gateway.ports[0]!, "one two three")).toString();
    assert.match(got, /^(first|second)\none two threebye\n$/);
  });

  test("connections take turns over the endpoints", async () => {
    const names = new Set<string>();
    for (let i = 0; i < 4; i++)
      names.add((await talk(gateway.ports[0]!, "x")).toString().split("\n")[0]!);
    assert.deepEqual([...names].sort(), ["first", "second"]);
  });

  test("an endpoint that refuses is passed over", async () => {
    for (let i = 0; i < 6; i++)
      assert.match((await talk(gateway.ports[1]!, "hi")).toString(), /^first\nhibye\n$/);
  });

  test("megabytes arrive whole in both directions", async () => {
    const bytes = Buffer.alloc(4 * 1024 * 1024);
    for (let i = 0; i < bytes.length; i++) bytes[i] = i % 251;
    const got = await talk(gateway.ports[0]!, bytes);
    const start = got.indexOf(10) + 1;
    assert.ok(got.subarray(start, start + bytes.length).equals(bytes));
  });

  test("TLS goes to the service of its server name, unopened", async () => {
    const port = gateway.ports[2]!;
    assert.match(await whoAnswers(port, "a.example.com"), /service\/a/);
    assert.match(await whoAnswers(port, "x.b.example.com"), /service\/b/);
    assert.match(await whoAnswers(port, "c.example.com"), /^refused: /);
  });

  test("what is no TLS, or names no server, is closed", async () => {
    const port = gateway.ports[2]!;
    await assert.rejects(talk(port, "GET / HTTP/1.1\r\n\r\n"), /ECONNRESET/);
  });

  test("each connection is a line in the access log, with its bytes", async () => {
    await talk(gateway.ports[0]!, "count me");
    await eventually("the line", () =>
      /"method":"TCP"[^\n]*"requestBytes":8,/.test(gateway.stdout),
    );
  });
});
