/** In a sidecar the app is trusted: its grpc-timeout bounds the call, and goes on with what is left. */

import assert from "node:assert/strict";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { createAuthority, issueCertificate } from "../../control/authority/authority.ts";
import { Gateway } from "../support/gateway.ts";
import { collect, EchoCaller, EchoServer } from "../support/grpc.ts";
import { Origin } from "../support/origin.ts";
import { FramePeer } from "../proxy/http2/frame-peer.ts";

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "weft-grpc-"));
/** Per call, in order: ms that the service had; -1: it heard of no deadline. */
const left: number[] = [];
let echo: EchoServer;
/** Sends one message and never an end. */
let deaf: Origin;
let sidecar: Gateway;

before(async () => {
  const note = (deadline: unknown): void => {
    left.push(Number.isFinite(Number(deadline)) ? Number(deadline) - Date.now() : -1);
  };
  echo = await EchoServer.start({
    unary: (call, done) => {
      note(call.getDeadline());
      done(null, call.request);
    },
  });
  deaf = await Origin.start(async (connection) => {
    const peer = new FramePeer(connection);
    const { id } = (await peer.request())!;
    peer.send(peer.head(id, 200, [["content-type", "application/grpc"]]));
    peer.send(peer.data(id, Buffer.from([0, 0, 0, 0, 1, 120])));
  });
  await createAuthority(folder, "weft.local");
  await issueCertificate({ service: "web", ca: folder, out: folder });
  const file = (name: string): string => path.join(folder, name);
  sidecar = await Gateway.start({
    mode: "mesh",
    ports: 2,
    config: ({ port, admin }) => `
mesh:
  service: web
  app: 127.0.0.1:1
  outbound: 127.0.0.1:${port[0]}
  inbound: 127.0.0.1:${port[1]}
  identity: { cert: ${file("web.crt")}, key: ${file("web.key")}, bundle: ${file("bundle.crt")} }
services:
  deaf: { endpoints: ["${deaf.address}"], protocol: http2, mtls: false }
  echo: { endpoints: ["127.0.0.1:${echo.port}"], protocol: http2, mtls: false, policy: { timeout: 10s } }
admin: { address: "127.0.0.1:${admin}" }
workers: 1
`,
  });
});
after(async () => {
  await sidecar.stop();
  echo.stop();
  await deaf.close();
  fs.rmSync(folder, { recursive: true, force: true });
});

test("a call goes on with what is left of its deadline", async () => {
  const caller = new EchoCaller(sidecar.port, "echo");
  assert.equal((await caller.unary("x", { deadlineMs: 4000 })).code, 0);
  assert.ok(left.at(-1)! > 0 && left.at(-1)! <= 4000, String(left.at(-1)));
  caller.close();
});

test("with the policy's timeout when that is less", async () => {
  const caller = new EchoCaller(sidecar.port, "echo");
  assert.equal((await caller.unary("x", { deadlineMs: 60_000 })).code, 0);
  assert.ok(left.at(-1)! > 0 && left.at(-1)! <= 10_000, String(left.at(-1)));
  caller.close();
});

test("a stream ends with its deadline, long after its head", async () => {
  const caller = new EchoCaller(sidecar.port, "deaf");
  // as a field alone, so that the caller has no timer of its own; and the service has none either
  const call = caller.chat({ metadata: { "grpc-timeout": "400m" } });
  const outcome = collect(call);
  await once(call, "data");
  const { code, details } = await outcome;
  assert.equal(code, 4);
  assert.match(details, /grpc-timeout/);
  caller.close();
});
