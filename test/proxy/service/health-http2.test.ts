/** Health checks of endpoints that speak HTTP/2 and gRPC, by real servers. */

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import http2 from "node:http2";
import net from "node:net";
import { afterEach, test } from "node:test";
import * as grpc from "@grpc/grpc-js";
import { Wheel } from "../../../proxy/clock.ts";
import { probeHttp } from "../../../proxy/service/health-probe.ts";
import { createDial, type DialTarget } from "../../../proxy/upstream/connect.ts";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

function ask(
  port: number,
  protocol: DialTarget["protocol"],
  path = "/healthz",
  timeoutMs = 5000,
): Promise<readonly [boolean, string]> {
  const wheel = new Wheel();
  wheel.start();
  const dial = createDial({ wheel, now: () => performance.now() });
  const target = { host: "127.0.0.1", port, key: "", tls: null, protocol: protocol! };
  return new Promise((resolve) => {
    probeHttp(target, { path, timeoutMs, dial }, (healthy, reason) => {
      wheel.stop();
      resolve([healthy, reason]);
    });
  });
}

async function listening(server: net.Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanups.push(() => server.close());
  return (server.address() as net.AddressInfo).port;
}

async function http2Server(status: number): Promise<number> {
  const server = http2.createServer((request, response) => {
    response.writeHead(request.url === "/healthz" ? status : 404);
    response.end("a body");
  });
  return listening(server as unknown as net.Server);
}

/** The standard health service, with its messages as bytes. */
async function grpcServer(answer: Buffer | grpc.status): Promise<number> {
  const server = new grpc.Server();
  const bytes = (value: Buffer): Buffer => value;
  const check = {
    path: "/grpc.health.v1.Health/Check",
    requestStream: false,
    responseStream: false,
    requestSerialize: bytes,
    requestDeserialize: bytes,
    responseSerialize: bytes,
    responseDeserialize: bytes,
  };
  const handler: grpc.handleUnaryCall<Buffer, Buffer> = (_call, done) =>
    Buffer.isBuffer(answer)
      ? done(null, answer)
      : done({ code: answer, details: "no" } as grpc.ServiceError);
  server.addService({ check }, { check: handler } as unknown as grpc.UntypedServiceImplementation);
  cleanups.push(() => server.forceShutdown());
  return new Promise((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) =>
      error === null ? resolve(port) : reject(error),
    ),
  );
}

const grpcPath = "/grpc.health.v1.Health/Check";

test("an HTTP/2 endpoint is healthy by its status", async () => {
  const port = await http2Server(200);
  assert.deepEqual(await ask(port, "http2"), [true, `127.0.0.1:${port}/healthz: answered 200`]);
  assert.equal((await ask(await http2Server(503), "http2"))[0], false);
});

test("auto: an endpoint of either protocol is asked in its own", async () => {
  assert.equal((await ask(await http2Server(204), "auto"))[0], true);
  const port = await listening(http.createServer((_, response) => response.end("fine")));
  assert.deepEqual(await ask(port, "auto"), [true, `127.0.0.1:${port}/healthz: answered 200`]);
});

test("an HTTP/1.1 endpoint of an http2 service is unhealthy", async () => {
  const port = await listening(http.createServer((_, response) => response.end("fine")));
  const [healthy, reason] = await ask(port, "http2");
  assert.equal(healthy, false);
  assert.match(reason, /broke HTTP\/2|closed the connection/);
});

test("an endpoint that never answers is unhealthy after the timeout", async () => {
  const port = await listening(net.createServer((socket) => void socket.on("error", () => {})));
  const [healthy, reason] = await ask(port, "http2", "/healthz", 100);
  assert.equal(healthy, false);
  assert.match(reason, /no answer within 100 ms/);
});

test("a gRPC service is asked by grpc.health.v1: SERVING alone is healthy", async () => {
  const serving = await grpcServer(Buffer.from([8, 1]));
  assert.deepEqual(await ask(serving, "http2", grpcPath), [
    true,
    `127.0.0.1:${serving}${grpcPath}: is serving`,
  ]);
  assert.match(
    (await ask(await grpcServer(Buffer.from([8, 2])), "http2", grpcPath))[1],
    /is not serving/,
  );
  const without = await grpcServer(grpc.status.UNIMPLEMENTED);
  assert.deepEqual(await ask(without, "http2", grpcPath), [
    false,
    `127.0.0.1:${without}${grpcPath}: answered grpc-status 12`,
  ]);
});
