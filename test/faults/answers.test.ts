/** Answers that go wrong in less obvious places: into a cache, to a reader that has stopped, to a caller of gRPC. */

import assert from "node:assert/strict";
import http2 from "node:http2";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";
import { EchoCaller } from "../support/grpc.ts";
import { ok, Origin } from "../support/origin.ts";
import type { OriginConnection } from "../support/origin.ts";

const kept = "Cache-Control: max-age=600\r\n";
const block = Buffer.alloc(64 * 1024, "x");

/** The first answer of each path under `/cut` is cut, the later ones are whole. */
const seen = new Set<string>();
async function script(connection: OriginConnection): Promise<void> {
  for (;;) {
    const head = await connection.head();
    if (head === null) return connection.end();
    const path = head.split(" ", 2)[1]!;
    if (path === "/endless") {
      connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
      const pour = (): void => {
        do {
          connection.send(`10000\r\n`);
          connection.send(block);
          connection.send("\r\n");
        } while (!connection.socket.writableNeedDrain);
      };
      connection.socket.on("drain", pour);
      pour();
      return;
    }
    if (seen.has(path)) {
      connection.send(ok("whole", kept));
      continue;
    }
    seen.add(path);
    if (path.endsWith("length"))
      connection.send(`HTTP/1.1 200 OK\r\n${kept}Content-Length: 5\r\n\r\nwho`);
    else
      connection.send(`HTTP/1.1 200 OK\r\n${kept}Transfer-Encoding: chunked\r\n\r\n3\r\nwho\r\n`);
    await eventually("the part to be on its way", () => connection.socket.writableLength === 0);
    if (path.includes("reset")) connection.reset();
    else connection.end();
    return;
  }
}

let origin: Origin;
let page: http2.Http2Server;
let gateway: Gateway;
before(async () => {
  origin = await Origin.start(script);
  // what a load balancer in front of a gRPC service says when it is away
  page = http2.createServer((_request, response) => {
    response.writeHead(503, { "content-type": "text/html" });
    response.end("<h1>Service Unavailable</h1>");
  });
  page.listen(0, "127.0.0.1");
  await once(page, "listening");
  gateway = await Gateway.start({
    config: ({ port, admin }) => `
gateway: { listeners: [{ name: web, host: 127.0.0.1, port: ${port[0]} }] }
services:
  app: { endpoints: ["${origin.address}"] }
  page: { endpoints: ["127.0.0.1:${(page.address() as AddressInfo).port}"], protocol: http2 }
routes:
  - { hosts: [page.test], to: page, policy: { retry: { attempts: 0 } } }
  - { match: { path: /cut }, to: app, plugins: [cache], policy: { retry: { attempts: 0 } } }
  - { match: { path: /endless }, to: app, policy: { idleTimeout: 400ms } }
admin: { address: "127.0.0.1:${admin}" }
workers: 1
`,
  });
});
after(async () => {
  await gateway?.[Symbol.asyncDispose]();
  await origin?.close();
  page?.close();
});

for (const path of [
  "/cut/end/length",
  "/cut/end/chunked",
  "/cut/reset/length",
  "/cut/reset/chunked",
]) {
  test(`a cut answer is not kept by a cache: ${path.slice(5)}`, async () => {
    const get = async () => {
      using client = await gateway.connect();
      await client.send(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
      return await client.response();
    };
    using first = await gateway.connect();
    await first.send(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
    const cut = await first.untilEnded();
    assert.match(cut, /^HTTP\/1\.1 200 /);
    assert.ok(!cut.endsWith("0\r\n\r\n") && !cut.endsWith("whole"), cut);
    assert.equal((await get()).body, "whole", "asked again");
    const again = await get();
    assert.equal(again.body, "whole");
    assert.notEqual(again.header("age"), undefined, "and that one is kept");
  });
}

test("a reader that has stopped is let go after idleTimeout, and its endpoint with it", async () => {
  using client = await gateway.connect();
  client.socket.pause();
  await client.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n");
  await origin.until("the endpoint to be cut", () =>
    origin.connections.some(({ text, closed }) => text.includes("/endless") && closed),
  );
  await eventually(
    "nothing to be under way",
    async () => (await gateway.metric("weft_active_requests")) === 0,
  );
  client.socket.resume();
  await client.untilEnded();
  assert.ok(!client.text.endsWith("0\r\n\r\n"), "cut, not ended");
});

test("a page of HTML where gRPC was expected is UNAVAILABLE to its caller", async () => {
  const caller = new EchoCaller(gateway.port, "page.test");
  assert.equal((await caller.unary("hello")).code, 14);
  caller.client.close();
});
