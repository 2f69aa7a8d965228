/** Callers that send or read too slowly, or not at all: what they hold is bounded and given back. */

import assert from "node:assert/strict";
import fs from "node:fs";
import { once } from "node:events";
import net from "node:net";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";
import { Origin } from "../support/origin.ts";

function start(address: string, limits = "{}"): Promise<Gateway> {
  return Gateway.start({
    config: ({ port, admin }) => `
gateway: { listeners: [{ name: web, host: 127.0.0.1, port: ${port[0]} }], limits: ${limits} }
services: { app: { endpoints: ["${address}"] } }
policies: { default: { idleTimeout: 700ms, retry: { attempts: 0 } } }
routes: [{ match: { path: /stalls }, to: app }, { to: app, policy: { idleTimeout: 10m } }]
admin: { address: "127.0.0.1:${admin}" }
workers: 1
`,
  });
}

test("a body that stops coming is 408, and its endpoint's connection is given back", async () => {
  await using origin = await Origin.start(() => {});
  await using gateway = await start(origin.address);
  using client = await gateway.connect();
  await client.send("POST /stalls HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nsome");
  const answer = await client.response();
  assert.equal(answer.status, 408);
  assert.equal(answer.code, "request-timeout");
  await client.untilEnded();
  await (await origin.connection()).untilEnded();
  await eventually("no request to be active", async () => {
    return (await gateway.metric("weft_active_requests")) === 0;
  });
});

test("a thousand callers with half a head cost little, and are gone at the header timeout", async () => {
  await using origin = await Origin.start();
  await using gateway = await start(origin.address, "{ headerTimeout: 3s }");
  const slow = await Promise.all(Array.from({ length: 1000 }, () => gateway.connect()));
  await Promise.all(slow.map((client) => client.send("GET / HTTP/1.1\r\nHost: a\r\nX-")));
  using good = await gateway.connect();
  await good.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  assert.equal((await good.response()).status, 200);
  const all = await Promise.all(slow.map((client) => client.untilEnded()));
  for (const text of all) assert.match(text, /^HTTP\/1\.1 408 /);
  assert.equal(origin.connections.length, 1);
  for (const client of slow) client.destroy();
});

function residentBytes(gateway: Gateway): number {
  const status = fs.readFileSync(`/proc/${gateway.child.pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+)/m.exec(status)![1]) * 1024;
}

test("a download of 1 GiB to a reader that stops costs less than 2 MiB", async () => {
  const size = 1024 ** 3;
  const block = Buffer.alloc(64 * 1024, "x");
  let written = 0;
  /** Connections whose buffers on the way are all full. */
  let full = 0;
  const server = net.createServer((socket) => {
    socket.on("error", () => {});
    let sent = 0;
    socket.once("data", () => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`);
      const push = (): void => {
        while (sent < size) {
          sent += block.length;
          written += block.length;
          if (!socket.write(block)) return void socket.once("drain", push);
        }
      };
      push();
    });
    let before = -1;
    const look = setInterval(() => {
      if (sent > 0 && sent === before) {
        full++;
        clearInterval(look);
      }
      before = sent;
    }, 500);
    socket.on("close", () => clearInterval(look));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const count = 20;
  const readers: net.Socket[] = [];
  try {
    await using gateway = await start(`127.0.0.1:${(server.address() as AddressInfo).port}`);
    // one whole round first: code and buffers of the process are there
    const open = async (): Promise<net.Socket> => {
      const socket = net.connect({ port: gateway.port, host: "127.0.0.1" });
      socket.on("error", () => {});
      socket.pause();
      await once(socket, "connect");
      socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
      readers.push(socket);
      return socket;
    };
    await open();
    await eventually("the first download to stand still", () => full === 1, 60_000);
    const before = residentBytes(gateway);
    for (let i = 0; i < count; i++) await open();
    await eventually("all downloads to stand still", () => full === count + 1, 60_000);
    const grown = residentBytes(gateway) - before;
    assert.ok(written < (size / 4) * count, "the origin was stopped");
    assert.ok(grown < count * 2 * 1024 * 1024, `${grown} bytes for ${count} stopped readers`);
    for (const socket of readers) socket.destroy();
    await eventually("the endpoint's connections to be cut", async () => {
      return (await gateway.metric("weft_connections", { side: "upstream" })) === 0;
    });
  } finally {
    for (const socket of readers) socket.destroy();
    server.close();
  }
});
