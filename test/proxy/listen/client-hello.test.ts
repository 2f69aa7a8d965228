/** Reading the server name out of a ClientHello, whole, in pieces, and out of garbage. */

import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { before, test } from "node:test";
import tls from "node:tls";
import fc from "fast-check";
import { readClientHello } from "../../../proxy/listen/client-hello.ts";

/** What a real client sends first. */
async function helloOf(options: tls.ConnectionOptions): Promise<Buffer> {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  const client = tls.connect({ port, host: "127.0.0.1", ...options });
  client.on("error", () => {});
  const [socket] = (await once(server, "connection")) as [net.Socket];
  const [hello] = (await once(socket, "data")) as [Buffer];
  client.destroy();
  server.close();
  return hello;
}

let named: Buffer;

before(async () => {
  named = await helloOf({ servername: "Api.Example.com", ALPNProtocols: ["h2", "http/1.1"] });
});

test("finds the name that a client asks for, in lower case", async () => {
  assert.deepEqual(readClientHello(named), { kind: "hello", serverName: "api.example.com" });
  const old = await helloOf({ servername: "b.example.com", maxVersion: "TLSv1.2" });
  assert.deepEqual(readClientHello(old), { kind: "hello", serverName: "b.example.com" });
});

test("a client that says no name has none", async () => {
  assert.deepEqual(readClientHello(await helloOf({})), { kind: "hello", serverName: null });
});

test("asks for more at every cut", () => {
  for (let cut = 0; cut < named.length; cut++) {
    assert.equal(readClientHello(named.subarray(0, cut)).kind, "more", `cut at ${cut}`);
  }
});

test("puts a hello together from small records", () => {
  const message = named.subarray(5);
  const records: Buffer[] = [];
  for (let at = 0; at < message.length; at += 50) {
    const part = message.subarray(at, at + 50);
    records.push(Buffer.from([0x16, 3, 1, 0, part.length]), part);
  }
  assert.deepEqual(readClientHello(Buffer.concat(records)), {
    kind: "hello",
    serverName: "api.example.com",
  });
});

test("what is no ClientHello has no name", () => {
  for (const text of [
    "GET / HTTP/1.1\r\n",
    "\x16\x03\x01\x00\x00",
    "\x16\x03\x01\xff\xff",
    "\x16\x02\x01\x00\x04",
  ]) {
    assert.deepEqual(
      readClientHello(Buffer.from(text, "latin1")),
      { kind: "hello", serverName: null },
      text,
    );
  }
  // a message that promises 16 MiB
  const huge = Buffer.from("1603010005" + "01ffffff00", "hex");
  assert.deepEqual(readClientHello(huge), { kind: "hello", serverName: null });
});

test("no change to a hello makes it throw or lose its end", () => {
  fc.assert(
    fc.property(
      fc.nat(named.length - 1),
      fc.integer({ min: 0, max: 255 }),
      fc.nat(named.length),
      (at, byte, cut) => {
        const bytes = Buffer.from(named.subarray(0, Math.max(cut, 1)));
        bytes[at % bytes.length] = byte;
        readClientHello(bytes);
      },
    ),
    { numRuns: 500 },
  );
});
