/** WebSockets of others: Node's own over HTTP/1.1, and a browser's, which takes the HTTP/2 connection that it has. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { once } from "node:events";
import http from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { signed, testAuthority } from "../support/certificates.ts";
import { eventually, within } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";

const executablePath = "/usr/bin/chromium";

/** Closes with the code that a message names; else says it back. */
class EchoServer {
  readonly http: http.Server;
  /** Codes of close frames that callers have begun with. */
  readonly closes: number[] = [];
  private readonly sockets = new Set<Socket>();
  /** Those that have been sent a close frame. */
  private readonly closing = new WeakSet<Socket>();

  constructor() {
    this.http = http.createServer((_, response) => response.end("<!doctype html><title>x</title>"));
    this.http.on("upgrade", (request, socket: Socket) => {
      this.sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => this.sockets.delete(socket));
      const key = `${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${createHash("sha1").update(key).digest("base64")}\r\nSec-WebSocket-Protocol: echo\r\n\r\n`,
      );
      let bytes: Buffer = Buffer.alloc(0);
      socket.on("data", (chunk: Buffer) => {
        bytes = Buffer.concat([bytes, chunk]);
        for (let read; (read = readFrame(bytes)) !== null;) {
          bytes = bytes.subarray(read.length);
          this.onFrame(socket, read.first, read.payload);
        }
      });
      socket.on("end", () => socket.end());
    });
  }

  private onFrame(socket: Socket, first: number, payload: Buffer): void {
    const wish = /^close (\d+)$/.exec(payload.toString("latin1"));
    if ((first & 15) === 8) {
      this.closes.push(payload.readUInt16BE(0));
      if (this.closing.has(socket)) socket.end();
      else socket.end(frameOf(first, payload));
    } else if (wish !== null) {
      this.closing.add(socket);
      const code = Buffer.alloc(2);
      code.writeUInt16BE(Number(wish[1]));
      socket.write(frameOf(0x88, code));
    } else socket.write(frameOf(first, payload));
  }

  stop(): void {
    for (const socket of this.sockets) socket.destroy();
    this.http.closeAllConnections();
    this.http.close();
  }
}

/** A masked frame of a caller, unmasked, with its first byte (FIN and opcode); null: it is not whole yet. */
function readFrame(bytes: Buffer): { first: number; payload: Buffer; length: number } | null {
  if (bytes.length < 2) return null;
  const short = bytes[1]! & 127;
  const head = short === 127 ? 10 : short === 126 ? 4 : 2;
  if (bytes.length < head + 4) return null;
  const size =
    short === 127
      ? Number(bytes.readBigUInt64BE(2))
      : short === 126
        ? bytes.readUInt16BE(2)
        : short;
  const length = head + 4 + size;
  if (bytes.length < length) return null;
  const mask = bytes.subarray(head, head + 4);
  const payload = Buffer.from(bytes.subarray(head + 4, length));
  for (let i = 0; i < size; i++) payload[i]! ^= mask[i & 3]!;
  return { first: bytes[0]!, payload, length };
}

function frameOf(first: number, payload: Buffer): Buffer {
  const { length } = payload;
  const head = Buffer.alloc(length < 126 ? 2 : length < 65_536 ? 4 : 10);
  head[0] = first;
  head[1] = length < 126 ? length : length < 65_536 ? 126 : 127;
  if (head.length === 4) head.writeUInt16BE(length, 2);
  if (head.length === 10) head.writeBigUInt64BE(BigInt(length), 2);
  return Buffer.concat([head, payload]);
}

let gateway: Gateway;
let server: EchoServer;
before(async () => {
  server = new EchoServer();
  server.http.listen(0, "127.0.0.1");
  await once(server.http, "listening");
  const pair = await signed(await testAuthority(), { dns: ["localhost"] });
  gateway = await Gateway.start({
    ports: 2,
    files: { "test.crt": pair.cert, "test.key": pair.key },
    config: ({ port, admin }) => `
admin: { address: "127.0.0.1:${admin}" }
workers: 1
gateway:
  listeners:
    - { name: clear, port: ${port[0]} }
    - { name: secure, port: ${port[1]}, tls: { certificates: [{ cert: test.crt, key: test.key }] } }
services: { echo: { endpoints: ["127.0.0.1:${(server.http.address() as AddressInfo).port}"] } }
routes: [{ name: echo, to: echo }]
observe: { accessLog: { format: json } }
`,
  });
});
after(async () => {
  await gateway?.[Symbol.asyncDispose]();
  server?.stop();
});

/** Runs in Node and in a page alike: echoes of three sizes, then an end by either side. @returns what was seen */
async function talk(url: string, ending: string): Promise<string[]> {
  const seen: string[] = [];
  const socket = new WebSocket(url, "echo");
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = () => reject(new Error(`no WebSocket at ${url}`));
  });
  seen.push(socket.protocol);
  for (const size of [5, 1000, 300_000]) {
    const text = "x".repeat(size);
    const echoed = new Promise<string>((resolve) => {
      socket.onmessage = (event) => resolve(String(event.data));
    });
    socket.send(text);
    seen.push((await echoed) === text ? `echo ${size}` : "something else");
  }
  const closed = new Promise<CloseEvent>((resolve) => (socket.onclose = resolve));
  if (ending === "ours") socket.close(4001, "enough");
  else socket.send("close 4002");
  const { code, wasClean } = await closed;
  return [...seen, `closed ${code}`, wasClean ? "clean" : "broken"];
}

const expected = (code: number): string[] => [
  "echo",
  "echo 5",
  "echo 1000",
  "echo 300000",
  `closed ${code}`,
  "clean",
];

test("Node's WebSocket: messages of every size, and either side's close with its code", async () => {
  const url = `ws://localhost:${gateway.ports[0]}/ws`;
  assert.deepEqual(await within("the caller's close", talk(url, "ours")), expected(4001));
  assert.deepEqual(await within("the service's close", talk(url, "theirs")), expected(4002));
  await eventually("the close frames", () => server.closes.length === 2);
  assert.deepEqual(server.closes, [4001, 4002]);
});

test(
  "a browser's WebSocket travels as a stream of the HTTP/2 connection that the page came on",
  { skip: existsSync(executablePath) ? false : `${executablePath} is not installed` },
  async () => {
    server.closes.length = 0;
    const flags = [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--ignore-certificate-errors",
    ];
    const browser = await chromium.launch({ executablePath, args: flags });
    try {
      const page = await browser.newPage();
      await page.goto(`https://localhost:${gateway.ports[1]}/`);
      const ask = (ending: string): Promise<string[]> =>
        page.evaluate(`(${talk.toString()})("wss://" + location.host + "/ws", "${ending}")`);
      assert.deepEqual(await ask("ours"), expected(4001));
      assert.deepEqual(await ask("theirs"), expected(4002));
      await eventually("the close frames", () => server.closes.length === 2);
      assert.deepEqual(server.closes, [4001, 4002]);
      // one connection: the page's own carried both
      assert.equal(await gateway.metric("weft_connections", { side: "downstream" }), 1);
    } finally {
      await browser.close();
    }
  },
);
