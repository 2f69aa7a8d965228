/** The configurations of docs/protocols.md, run on free ports before real services. */

import assert from "node:assert/strict";
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import { after, before, test } from "node:test";
import * as grpc from "@grpc/grpc-js";
import { signed, testAuthority, type Pair } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";
import { EchoServer } from "../support/grpc.ts";
import { answering, ok, Origin } from "../support/origin.ts";
import { freePorts } from "../support/ports.ts";
import { RawClient } from "../support/raw-client.ts";
import { root } from "../support/source-tree.ts";

const page = fs.readFileSync(path.join(root, "docs/protocols.md"), "utf8");
const [yaml, terminating, detecting, tunnelling] = [...page.matchAll(/```yaml\n([^]*?)```/g)].map(
  (match) => match[1]!,
) as [string, string, string, string];

let gateway: Gateway;
let web: Origin;
let greeters: EchoServer[];
let postgres: net.Server;
let mail: net.Server;
let pair: Pair;
/** What each connection to the database began with. */
const announced: string[] = [];
const moved = new Map<string, number>();

before(async () => {
  web = await Origin.start(answering(() => ok("web")));
  greeters = [await EchoServer.start(), await EchoServer.start()];
  postgres = net.createServer((socket) => {
    const at = announced.push("") - 1;
    socket.on("error", () => {});
    socket.on("data", (chunk) => (announced[at] += chunk.toString("latin1")));
    socket.end("welcome\n");
  });
  postgres.listen(0, "127.0.0.1");
  await once(postgres, "listening");
  mail = net.createServer((socket) => {
    socket.on("error", () => {});
    socket.write("220 ready\r\n");
    socket.on("end", () => socket.end());
    socket.resume();
  });
  mail.listen(0, "127.0.0.1");
  await once(mail, "listening");
  for (const [from, to] of [
    ["2525", (mail.address() as net.AddressInfo).port],
    ["3000", web.port],
    ["50051", greeters[0]!.port],
    ["50052", greeters[1]!.port],
    ["5433", (postgres.address() as net.AddressInfo).port],
  ] as const)
    moved.set(from, to);
  const listeners = await freePorts(4);
  for (const [i, from] of ["8080", "5432", "9443", "8443"].entries())
    moved.set(from, listeners[i]!);
  pair = await signed(await testAuthority(), { dns: ["api.example.com"] });
  gateway = await running(yaml);
});

/** The gateway of a configuration of the page, on the ports of the services here. */
function running(text: string): Promise<Gateway> {
  return Gateway.start({
    files: { "certs/api.crt": pair.cert, "certs/api.key": pair.key },
    config: ({ admin }) =>
      `admin: { address: "127.0.0.1:${admin}" }\nworkers: 1\n${text.replace(
        /(?<=port: |127\.0\.0\.1:)\d+/g,
        (port) => String(moved.get(port) ?? port),
      )}`,
  });
}

after(async () => {
  await gateway.stop();
  await web.close();
  for (const greeter of greeters) greeter.stop();
  postgres.close();
  mail.close();
});

test("HTTP goes to web", async () => {
  using client = await RawClient.connect(moved.get("8080")!);
  await client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  assert.equal((await client.response()).body, "web");
});

test("gRPC goes to the greeters, which know no such method", async () => {
  const client = new grpc.Client(
    `127.0.0.1:${moved.get("8080")}`,
    grpc.credentials.createInsecure(),
  );
  const bytes = (value: Buffer): Buffer => value;
  const error = await new Promise<grpc.ServiceError | null>((resolve) =>
    client.makeUnaryRequest("/hello.Greeter/Say", bytes, bytes, Buffer.from("x"), resolve),
  );
  client.close();
  assert.equal(error?.code, grpc.status.UNIMPLEMENTED);
  assert.match(error!.details, /The server does not implement the method/);
});

test("TCP goes to the database, which speaks first", async () => {
  using client = await RawClient.connect(moved.get("5432")!);
  assert.equal(await client.untilEnded(), "welcome\n");
});

test("the TLS listener closes on what is not TLS", async () => {
  using client = await RawClient.connect(moved.get("9443")!);
  await client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  assert.equal(await client.untilEnded(), "");
});

test("TLS ends at the database's port, and the service is told who called", async () => {
  await gateway.stop();
  await using own = await running(terminating);
  const before = announced.length;
  using client = await RawClient.connect(moved.get("5432")!, {
    tls: { servername: "api.example.com" },
  });
  await client.has("welcome\n");
  assert.equal(own.child.exitCode, null);
  await eventually("the header", () =>
    announced.slice(before).some((text) => text.includes("api.example.com")),
  );
});

test("one port takes HTTPS, plain HTTP and mail", async () => {
  await using own = await running(detecting);
  const port = moved.get("8443")!;
  for (const options of [{}, { tls: { servername: "api.example.com" } }]) {
    using client = await RawClient.connect(port, options);
    await client.send("GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n");
    assert.equal((await client.response()).body, "web");
  }
  using client = await RawClient.connect(port);
  await client.has("220 ready\r\n");
  assert.equal(own.child.exitCode, null);
});

test("CONNECT wants a key", async () => {
  await using own = await running(tunnelling);
  using client = await RawClient.connect(moved.get("8080")!);
  await client.send("CONNECT db.example.com:5432 HTTP/1.1\r\nHost: db.example.com:5432\r\n\r\n");
  assert.equal((await client.response()).status, 401);
  assert.equal(own.child.exitCode, null);
});
