/** Streams and tunnels that are open while the configuration changes under them: they stay on the snapshot that they began with. */

import assert from "node:assert/strict";
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";
import http2 from "node:http2";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import type { Duplex } from "node:stream";
import type * as grpc from "@grpc/grpc-js";
import { createAuthority, issueCertificate } from "../../control/authority/authority.ts";
import { eventually, within } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";
import { EchoCaller, EchoServer, echoService } from "../support/grpc.ts";

/** Marks every tick of an answer, and counts its end. */
const stamp = `
import { definePlugin } from "weft/plugin";
import { z } from "zod";
export default definePlugin({
  name: "stamp", stage: "transform",
  config: z.object({ value: z.string() }),
  setup({ value }, host) {
    const ended = host.counter("stamped", ["value"]);
    let isClosed = false;
    return {
      responseBody: (chunk) =>
        Buffer.from(Buffer.from(chunk).toString().replaceAll("tick", "tick " + value + (isClosed ? " closed" : ""))),
      done: () => ended.inc([value]),
      close: () => void (isClosed = true),
    };
  },
});
`;

/** Ticks when told, echoes after a switch. */
class TickingOrigin {
  readonly server: http.Server;
  private readonly open: http.ServerResponse[] = [];

  constructor() {
    this.server = http.createServer((_request, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.flushHeaders();
      this.open.push(response);
    });
    this.server.on("upgrade", (_request, socket: Duplex) => {
      socket.on("error", () => {});
      socket.write("HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
      socket.pipe(socket);
    });
  }

  tick(): void {
    for (const response of this.open) response.write("tick;");
  }

  end(): void {
    for (const response of this.open.splice(0)) response.end();
  }
}

/** What a stream has brought, and a way to wait for more. */
class Heard {
  text = "";
  isOver = false;
  private readonly stream: Duplex | http.IncomingMessage;

  constructor(stream: Duplex | http.IncomingMessage) {
    this.stream = stream;
    stream.on("data", (chunk: Buffer) => (this.text += chunk.toString()));
    stream.on("error", () => {});
    stream.on("close", () => (this.isOver = true));
  }

  async has(text: string): Promise<void> {
    await within(
      `${JSON.stringify(text)}, after ${JSON.stringify(this.text)}`,
      (async () => {
        while (!this.text.endsWith(text)) {
          assert.ok(!this.isOver, `cut after ${JSON.stringify(this.text)}`);
          await Promise.race([once(this.stream, "data"), once(this.stream, "close")]);
        }
      })(),
    );
  }
}

async function listening<T extends net.Server>(server: T): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as net.AddressInfo).port;
}

/** Replaces the configuration and waits until it is in effect. */
async function change(gateway: Gateway, text: string): Promise<void> {
  const version = async () => JSON.parse(await gateway.ask("/config")).version as number;
  const before = await version();
  const file = path.join(gateway.folder, "weft.yaml");
  fs.writeFileSync(`${file}.next`, text);
  fs.renameSync(`${file}.next`, file);
  await eventually("the new configuration", async () => (await version()) === before + 1);
}

describe("open through a reload:", () => {
  const origin = new TickingOrigin();
  const echo = net.createServer((socket) => {
    socket.on("error", () => {});
    socket.pipe(socket);
  });
  let gateway: Gateway;
  let calls: EchoServer;
  const addresses = { origin: "", echo: "", calls: "" };

  before(async () => {
    addresses.origin = `127.0.0.1:${await listening(origin.server)}`;
    addresses.echo = `127.0.0.1:${await listening(echo)}`;
    calls = await EchoServer.start();
    addresses.calls = `127.0.0.1:${calls.port}`;
  });
  after(async () => {
    origin.server.closeAllConnections();
    origin.server.close();
    echo.close();
    calls.stop();
  });

  const configBefore = (at: { port: readonly number[]; admin: number }): string => `
gateway:
  listeners:
    - { name: web, host: 127.0.0.1, port: ${at.port[0]} }
    - { name: raw, host: 127.0.0.1, port: ${at.port[1]}, protocol: tcp, to: echo }
services:
  app: { endpoints: ["${addresses.origin}"] }
  echo: { endpoints: ["${addresses.echo}"], protocol: tcp }
  calls: { endpoints: ["${addresses.calls}"], protocol: http2 }
routes:
  - { name: calls, hosts: [calls.test], to: calls }
  - { name: all, to: app, plugins: [{ ./stamp.ts: { value: old } }] }
admin: { address: "127.0.0.1:${at.admin}" }
drainTimeout: 5s
workers: 2
`;
  /** Other services behind other routes, the TCP listener gone; nothing of what is open is in it. */
  const configAfter = (at: { port: readonly number[]; admin: number }): string => `
gateway:
  listeners:
    - { name: web, host: 127.0.0.1, port: ${at.port[0]} }
services:
  other: { endpoints: ["${addresses.origin}"] }
routes:
  - { name: other, to: other, match: { path: /new }, plugins: [{ ./stamp.ts: { value: new } }] }
admin: { address: "127.0.0.1:${at.admin}" }
drainTimeout: 5s
workers: 2
`;

  const start = () =>
    Gateway.start({ ports: 2, files: { "stamp.ts": stamp }, config: configBefore });
  const swap = () => change(gateway, configAfter({ port: gateway.ports, admin: gateway.admin }));

  /** An answer that goes on, over HTTP/1.1. */
  function listen(where: string): Promise<Heard> {
    return new Promise((resolve, reject) => {
      const options = { port: gateway.port, host: "127.0.0.1", path: where, agent: false };
      http.get(options, (answer) => resolve(new Heard(answer))).on("error", reject);
    });
  }

  test("server-sent events and HTTP/2 streams keep their route, its service and its plugins", async () => {
    await using started = await start();
    gateway = started;
    const session = http2.connect(`http://127.0.0.1:${gateway.port}`);
    session.on("error", () => {});
    const stream = session.request({ ":path": "/old" });
    const overHttp2 = new Heard(stream);
    await once(stream, "response");
    const overHttp1 = await listen("/old");
    origin.tick();
    for (const heard of [overHttp1, overHttp2]) await heard.has("tick old;");

    await swap();
    const fresh = await listen("/new");
    const freshStream = session.request({ ":path": "/new" });
    const freshOverHttp2 = new Heard(freshStream);
    await once(freshStream, "response");
    origin.tick();
    for (const heard of [overHttp1, overHttp2]) await heard.has("tick old;tick old;");
    for (const heard of [fresh, freshOverHttp2]) await heard.has("tick new;");
    const gone = session.request({ ":path": "/old" });
    const [fields] = (await once(gone, "response")) as [http2.IncomingHttpHeaders];
    assert.equal(fields[":status"], 404, "on the same connection, a new stream is on the new one");

    assert.equal(await gateway.metric("weft_stamped_total", { value: "old" }), 0);
    origin.end();
    await eventually("the old instance to hear of both ends", async () => {
      return (await gateway.metric("weft_stamped_total", { value: "old" })) === 2;
    });
    session.destroy();
  });

  test("a gRPC call that streams both ways goes on, though its service is gone", async () => {
    await using started = await start();
    gateway = started;
    const caller = new EchoCaller(gateway.port, "calls.test");
    const bytes = (value: Buffer): Buffer => value;
    const call = caller.client.makeBidiStreamRequest(echoService.chat.path, bytes, bytes);
    const status = new Promise<grpc.StatusObject>((resolve) => call.on("status", resolve));
    call.on("error", () => {});
    const say = async (text: string): Promise<void> => {
      call.write(Buffer.from(text));
      const [answer] = (await within(`the echo of ${text}`, once(call, "data"))) as [Buffer];
      assert.equal(answer.toString(), text);
    };
    await say("before");
    await swap();
    await say("after");
    await say("and on");
    assert.equal((await caller.unary("x")).code, 12, "a new call finds no route any more");
    call.end();
    assert.equal((await status).code, 0);
    caller.client.close();
  });

  test("WebSockets, over HTTP/1.1 and over HTTP/2, and TCP connections go on without their route and listener", async () => {
    await using started = await start();
    gateway = started;
    const fields = {
      connection: "Upgrade",
      upgrade: "websocket",
      "sec-websocket-version": "13",
      "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    };
    const asking = http.get({ port: gateway.port, host: "127.0.0.1", headers: fields });
    const [, socket] = (await once(asking, "upgrade")) as [unknown, net.Socket];

    const session = http2.connect(`http://127.0.0.1:${gateway.port}`);
    session.on("error", () => {});
    await once(session, "remoteSettings");
    const stream = session.request(
      { ":method": "CONNECT", ":protocol": "websocket", ":path": "/old" },
      { endStream: false },
    );
    await once(stream, "response");
    const raw = net.connect(gateway.ports[1]!, "127.0.0.1");
    await once(raw, "connect");

    const tunnels = [socket, stream, raw].map((tunnel) => ({ tunnel, heard: new Heard(tunnel) }));
    const allSay = async (text: string): Promise<void> => {
      for (const { tunnel, heard } of tunnels) {
        tunnel.write(text);
        await heard.has(text);
      }
    };
    await allSay("before;");
    await swap();
    await allSay("after;");
    await eventually("the TCP listener to be closed", async () => {
      const late = net.connect(gateway.ports[1]!, "127.0.0.1");
      const refused = once(late, "error").then(
        ([error]) => (error as NodeJS.ErrnoException).code === "ECONNREFUSED",
      );
      const isRefused = await Promise.race([refused, once(late, "connect").then(() => false)]);
      late.destroy();
      return isRefused;
    });
    await change(gateway, configBefore({ port: gateway.ports, admin: gateway.admin }));
    await allSay("after another;");
    for (const { tunnel, heard } of tunnels) {
      assert.equal(heard.text, "before;after;after another;");
      tunnel.destroy();
    }
    session.destroy();
    await eventually("all tunnels to be given back", async () => {
      return (await gateway.metric("weft_connections", { side: "upstream" })) === 0;
    });
  });

  test("streams and tunnels outlive the workers that changed code replaces, until drainTimeout", async () => {
    await using started = await start();
    gateway = started;
    const raw = net.connect(gateway.ports[1]!, "127.0.0.1");
    await once(raw, "connect");
    const tunnel = new Heard(raw);
    const events = await listen("/old");
    origin.tick();
    await events.has("tick old;");
    raw.write("before;");
    await tunnel.has("before;");
    fs.writeFileSync(
      path.join(gateway.folder, "stamp.ts"),
      stamp.replace('"tick " + value', '"tock " + value'),
    );
    await eventually("the new code in effect", async () => {
      return (await gateway.metric("weft_config_reload_total", { result: "applied" })) === 2;
    });
    const fresh = await listen("/old");
    origin.tick();
    await events.has("tick old;tick old;");
    await fresh.has("tock old;");
    raw.write("after;");
    await tunnel.has("after;");
    origin.end();
    await eventually("the stream to end by itself", () => events.isOver);
    await eventually("the tunnel to be cut", () => tunnel.isOver);
  });
});

test("a CONNECT tunnel of a sidecar goes on though its service is gone", async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "weft-open-"));
  await createAuthority(folder, "weft.local");
  await issueCertificate({ service: "web", ca: folder, out: folder });
  const echo = net.createServer((socket) => {
    socket.on("error", () => {});
    socket.pipe(socket);
  });
  const address = `127.0.0.1:${await listening(echo)}`;
  const config = (at: { port: readonly number[]; admin: number }, services: string): string => `
mesh:
  service: web
  app: 127.0.0.1:1
  outbound: 127.0.0.1:${at.port[0]}
  identity: { cert: ${folder}/web.crt, key: ${folder}/web.key, bundle: ${folder}/bundle.crt }
services: { ${services} }
admin: { address: "127.0.0.1:${at.admin}" }
workers: 1
`;
  try {
    await using gateway = await Gateway.start({
      mode: "mesh",
      config: (at) => config(at, `database: { endpoints: ["${address}"], mtls: false }`),
    });
    const connect = async () => {
      using client = await gateway.connect();
      await client.send("CONNECT database:5432 HTTP/1.1\r\nHost: database:5432\r\n\r\n");
      return (await client.response()).status;
    };
    using client = await gateway.connect();
    await client.send("CONNECT database:5432 HTTP/1.1\r\nHost: database:5432\r\n\r\n");
    await client.has("\r\n\r\n");
    await client.send("before;");
    await client.has("before;");
    await change(
      gateway,
      config({ port: gateway.ports, admin: gateway.admin }, `other: { endpoints: [] }`),
    );
    assert.equal(await connect(), 404);
    await client.send("after;");
    await client.has("after;");
  } finally {
    echo.close();
    fs.rmSync(folder, { recursive: true });
  }
});
