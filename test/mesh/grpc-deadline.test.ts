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

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "weft-grpc-"));
/** Per call, in order: ms that the service had; -1: it heard of no deadline. */
const left: number[] = [];
let echo: EchoServer;
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
    chat: (call) => {
      note(call.getDeadline());
      call.on("error", () => {});
      call.write(Buffer.from("hello"));
    },
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
  echo: { endpoints: ["127.0.0.1:${echo.port}"], protocol: http2, mtls: false, policy: { timeout: 10s } }
admin: { address: "127.0.0.1:${admin}" }
workers: 1
`,
  });
});
after(async () => {
  await sidecar.stop();
  echo.stop();
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
  const caller = new EchoCaller(sidecar.port, "echo");
  // as a field alone, so that grpc-js has no timer of its own
  const call = caller.chat({ metadata: { "grpc-timeout": "400m" } });
  const outcome = collect(call);
  await once(call, "data");
  const { code, details } = await outcome;
  assert.equal(code, 4);
  assert.match(details, /grpc-timeout/);
  caller.close();
});
