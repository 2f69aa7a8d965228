/** The configuration of docs/protocols.md, run on free ports before real services. */

import assert from "node:assert/strict";
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import { after, before, test } from "node:test";
import * as grpc from "@grpc/grpc-js";
import { Gateway } from "../support/gateway.ts";
import { EchoServer } from "../support/grpc.ts";
import { answering, ok, Origin } from "../support/origin.ts";
import { freePorts } from "../support/ports.ts";
import { RawClient } from "../support/raw-client.ts";
import { root } from "../support/source-tree.ts";

const page = fs.readFileSync(path.join(root, "docs/protocols.md"), "utf8");
const yaml = /```yaml\n([^]*?)```/.exec(page)![1]!;

let gateway: Gateway;
let web: Origin;
let greeters: EchoServer[];
let postgres: net.Server;
const moved = new Map<string, number>();

before(async () => {
  web = await Origin.start(answering(() => ok("web")));
  greeters = [await EchoServer.start(), await EchoServer.start()];
  postgres = net.createServer((socket) => {
    socket.on("error", () => {});
    socket.end("welcome\n");
  });
  postgres.listen(0, "127.0.0.1");
  await once(postgres, "listening");
  for (const [from, to] of [
    ["3000", web.port],
    ["50051", greeters[0]!.port],
    ["50052", greeters[1]!.port],
    ["5433", (postgres.address() as net.AddressInfo).port],
  ] as const)
    moved.set(from, to);
  const listeners = await freePorts(3);
  for (const [i, from] of ["8080", "5432", "9443"].entries()) moved.set(from, listeners[i]!);
  gateway = await Gateway.start({
    config: ({ admin }) =>
      `admin: { address: "127.0.0.1:${admin}" }\nworkers: 1\n${yaml.replace(
        /(?<=port: |127\.0\.0\.1:)\d+/g,
        (port) => String(moved.get(port) ?? port),
      )}`,
  });
});
after(async () => {
  await gateway.stop();
  await web.close();
  for (const greeter of greeters) greeter.stop();
  postgres.close();
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
