/** Endpoints that cannot be reached: a black hole, a port without a listener, and one that hangs up between requests. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";
import { answering, ok, Origin } from "../support/origin.ts";

/** An address where connections are never made: the listener is stopped and its queue is full, so SYNs are dropped. */
class BlackHole {
  readonly port: number;
  private readonly child: ChildProcess;
  private readonly queued: net.Socket[] = [];

  private constructor(port: number, child: ChildProcess) {
    this.port = port;
    this.child = child;
  }

  static async start(): Promise<BlackHole> {
    const program = `
      const server = require("node:net").createServer();
      server.listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => console.log(server.address().port));`;
    const child = spawn(process.execPath, ["-e", program], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    process.once("exit", () => child.kill("SIGKILL"));
    const [line] = (await once(child.stdout!, "data")) as [Buffer];
    const hole = new BlackHole(Number(line.toString()), child);
    child.kill("SIGSTOP");
    await hole.fill();
    return hole;
  }

  /** Connects until a connection stays away: from then on nobody gets in. */
  private async fill(): Promise<void> {
    for (;;) {
      const socket = net.connect(this.port, "127.0.0.1");
      socket.on("error", () => {});
      this.queued.push(socket);
      const isIn = await Promise.race([
        once(socket, "connect").then(() => true),
        delay(500, false),
      ]);
      if (!isIn) return;
    }
  }

  [Symbol.dispose](): void {
    for (const socket of this.queued) socket.destroy();
    this.child.kill("SIGKILL");
  }
}

/** `/one` has the first endpoint alone, `/both` has both. */
function start(first: number, second: number): Promise<Gateway> {
  return Gateway.start({
    config: ({ port, admin }) => `
gateway: { listeners: [{ name: web, host: 127.0.0.1, port: ${port[0]} }] }
services:
  one: { endpoints: ["127.0.0.1:${first}"] }
  both: { endpoints: ["127.0.0.1:${first}", "127.0.0.1:${second}"], policy: { balance: round-robin } }
policies: { default: { connectTimeout: 300ms, timeout: 10m } }
routes:
  - { match: { path: /one }, to: one, policy: { retry: { attempts: 0 } } }
  - { match: { path: /both }, to: both }
admin: { address: "127.0.0.1:${admin}" }
workers: 1
`,
  });
}

const head = (path: string, method = "GET") =>
  `${method} ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n`;

test("a black hole costs the connect timeout, not the route's: 502 connect-timeout, or the next endpoint", async () => {
  using hole = await BlackHole.start();
  await using origin = await Origin.start(answering(() => ok("here")));
  await using gateway = await start(hole.port, origin.port);
  using client = await gateway.connect();
  await client.send(head("/one"));
  const refused = await client.response();
  assert.equal(refused.status, 502);
  assert.equal(refused.code, "connect-timeout");
  assert.ok(refused.body.includes(`127.0.0.1:${hole.port}`));
  let retried = 0;
  for (let i = 0; i < 4; i++) {
    // nothing was sent: a POST goes on too
    await client.send(head("/both", i % 2 === 0 ? "GET" : "POST"));
    const answer = await client.response();
    assert.equal(answer.status, 200);
    if (answer.header("x-weft-attempts") === "2") retried++;
  }
  assert.ok(retried > 0, "one of the tries met the black hole");
  assert.ok(
    (await gateway.metric("weft_retries_total", { service: "both" })) >= retried,
    "retries are counted",
  );
});

test("a black hole is left alone after a few tries, and requests are not held up any more", async () => {
  using hole = await BlackHole.start();
  await using origin = await Origin.start(answering(() => ok("here")));
  await using gateway = await start(hole.port, origin.port);
  using client = await gateway.connect();
  await eventually(
    "the ejection",
    async () => {
      await client.send(head("/both"));
      assert.equal((await client.response()).status, 200);
      return (await gateway.metric("weft_ejections_total", { service: "both" })) > 0;
    },
    60_000,
  );
});

test("an origin that closes idle connections at once loses no GET in the race", async () => {
  const server = http.createServer((_request, response) => response.end("ok"));
  server.keepAliveTimeout = 1;
  // Node adds a second to be kind to its callers; here nobody is to be kind
  server.keepAliveTimeoutBuffer = 0;
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    const { port } = server.address() as AddressInfo;
    await using gateway = await start(port, 1);
    const lane = async (lane: number): Promise<void> => {
      using client = await gateway.connect();
      for (let i = 0; i < 60; i++) {
        await client.send(head("/one"));
        assert.equal((await client.response()).status, 200);
        // around the moment at which the origin closes, a little earlier or later each time
        await delay((i + lane) % 5);
      }
    };
    await Promise.all([0, 1, 2, 3].map(lane));
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
