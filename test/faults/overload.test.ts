/** A worker whose memory runs out refuses new requests before it dies of it, and serves again once there is some. */

import assert from "node:assert/strict";
import fs from "node:fs";
import http2 from "node:http2";
import net from "node:net";
import { once } from "node:events";
import path from "node:path";
import { test } from "node:test";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";
import { answering, ok, Origin } from "../support/origin.ts";

/** Holds a quarter of a megabyte more of the heap for each request; lets go of all when a file says so. */
const hoarder = `
import fs from "node:fs";
import { definePlugin } from "weft/plugin";
const hoard: unknown[] = [];
let id = 0;
export default definePlugin({
  name: "hoarder", stage: "transform",
  setup: () => ({
    request() {
      hoard.push(Array.from({ length: 5_000 }, () => ({ id: id++ })));
      if (hoard.length > 1) return;
      const timer = setInterval(() => {
        if (!fs.existsSync("let-go")) return;
        hoard.length = 0;
        clearInterval(timer);
      }, 50);
    },
  }),
});
`;

function start(origin: Origin, tcp: number): Promise<Gateway> {
  return Gateway.start({
    ports: 2,
    env: { NODE_OPTIONS: "--max-old-space-size=96" },
    files: { "hoarder.ts": hoarder },
    config: ({ port, admin }) => `
gateway:
  listeners:
    - { name: web, host: 127.0.0.1, port: ${port[0]} }
    - { name: raw, host: 127.0.0.1, port: ${port[1]}, protocol: tcp, to: echo }
services:
  app: { endpoints: ["${origin.address}"] }
  echo: { endpoints: ["127.0.0.1:${tcp}"], protocol: tcp }
routes:
  - { match: { path: /hoard }, to: app, plugins: [./hoarder.ts] }
  - { to: app }
admin: { address: "127.0.0.1:${admin}" }
workers: 1
`,
  });
}

const head = (where: string) => `GET ${where} HTTP/1.1\r\nHost: a\r\n\r\n`;

test("short of memory: 503 overloaded with Retry-After, what runs goes on, and all is served again", async () => {
  await using origin = await Origin.start(
    answering((request) => (request.start.includes("/slow") ? null : ok("fine"))),
  );
  const echo = net.createServer((socket) => void socket.pipe(socket).on("error", () => {}));
  echo.listen(0, "127.0.0.1");
  await once(echo, "listening");
  try {
    await using gateway = await start(origin, (echo.address() as net.AddressInfo).port);
    // one exchange and one tunnel that began in good times
    using running = await gateway.connect();
    await running.send(head("/slow"));
    await (await origin.connection()).request().catch(() => null);
    const tunnel = net.connect(gateway.ports[1]!, "127.0.0.1");
    tunnel.write("before");
    await once(tunnel, "data");

    const shed = await eventually("the worker to shed load", async () => {
      using client = await gateway.connect();
      await client.send(head("/hoard"));
      const answer = await client.response();
      return answer.status === 503 ? answer : (assert.equal(answer.status, 200), null);
    });
    assert.equal(shed.code, "overloaded");
    assert.equal(shed.header("retry-after"), "1");
    assert.equal(shed.header("connection"), "close");
    assert.equal(await gateway.metric("weft_shedding"), 1);
    assert.ok((await gateway.metric("weft_requests_total", { code: "overloaded" })) > 0);

    // over HTTP/2 alike
    const session = http2.connect(`http://127.0.0.1:${gateway.port}`);
    const stream = session.request({ ":path": "/" });
    const [fields] = (await once(stream, "response")) as [http2.IncomingHttpHeaders];
    assert.equal(fields[":status"], 503);
    session.destroy();
    // a new tunnel is closed, the old one goes on
    const late = net.connect(gateway.ports[1]!, "127.0.0.1");
    late.on("error", () => {});
    await new Promise((resolve) => late.once("close", resolve));
    tunnel.write("after");
    await once(tunnel, "data");
    origin.connections.find(({ text }) => text.includes("/slow"))!.send(ok("slow"));
    assert.equal((await running.response()).body, "slow");

    fs.writeFileSync(path.join(gateway.folder, "let-go"), "");
    await eventually("service again", async () => {
      using client = await gateway.connect();
      await client.send(head("/"));
      return (await client.response()).status === 200;
    });
    await eventually(
      "the gauge to say so",
      async () => (await gateway.metric("weft_shedding")) === 0,
    );
    assert.match(gateway.stderr, /short of memory: new requests get 503 overloaded/);
    // on a machine so busy that all this took ten seconds, by another worker
    assert.match(gateway.stderr, /memory again: requests are served|worker 0 is replaced/);
    tunnel.destroy();
  } finally {
    echo.close();
  }
});

test("a plugin that keeps what it never needs again costs its worker, not the service", async () => {
  await using origin = await Origin.start(answering(() => ok("fine")));
  await using gateway = await start(origin, origin.port);
  const get = async (where: string): Promise<number> => {
    using client = await gateway.connect();
    await client.send(head(where));
    return (await client.response()).status;
  };
  await eventually("the worker to shed load", async () => (await get("/hoard")) === 503);
  await eventually("service again", async () => (await get("/")) === 200);
  assert.equal(await gateway.metric("weft_worker_restarts_total"), 1);
  assert.match(gateway.stderr, /worker 0 is replaced: its memory stays full/);
});
