/** gRPC from an app through two sidecars to another: every kind of call, identity, and refusals as gRPC says them. */

import assert from "node:assert/strict";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { createAuthority, issueCertificate } from "../../control/authority/authority.ts";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";
import { collect, EchoCaller, EchoServer } from "../support/grpc.ts";

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "weft-mesh-grpc-"));
let app: EchoServer;
let greeter: Gateway;
let web: Gateway;
let caller: EchoCaller;
let cancelled = 0;

function sidecar(service: string, appAddress: string, more: string): Promise<Gateway> {
  return Gateway.start({
    mode: "mesh",
    ports: 2,
    config: ({ port, admin }) => `
mesh:
  service: ${service}
  app: ${appAddress}
  outbound: 127.0.0.1:${port[0]}
  inbound: 127.0.0.1:${port[1]}
  identity: { cert: ${folder}/${service}.crt, key: ${folder}/${service}.key, bundle: ${folder}/bundle.crt }
admin: { address: "127.0.0.1:${admin}" }
workers: 1
${more}
`,
  });
}

before(async () => {
  app = await EchoServer.start({
    download: (call) => {
      call.on("cancelled", () => cancelled++);
      call.write(Buffer.from("first"));
    },
  });
  await createAuthority(folder, "weft.local");
  for (const service of ["web", "greeter"])
    await issueCertificate({ service, ca: folder, out: folder });
  greeter = await sidecar(
    "greeter",
    `127.0.0.1:${app.port}`,
    "access: { rules: [{ to: greeter, from: [web], paths: [/test.Echo/Unary, /test.Echo/Chat, /test.Echo/Download] }] }",
  );
  web = await sidecar(
    "web",
    "127.0.0.1:1",
    `services: { greeter: { endpoints: ["127.0.0.1:${greeter.ports[1]}"], protocol: http2 } }`,
  );
  caller = new EchoCaller(web.port, "greeter");
});
after(async () => {
  caller.close();
  await web?.stop();
  await greeter?.stop();
  app.stop();
  fs.rmSync(folder, { recursive: true, force: true });
});

test("a unary call arrives with the verified caller", async () => {
  const { code, messages } = await caller.unary("hello");
  assert.deepEqual([code, messages], [0, ["hello"]]);
  assert.deepEqual(app.metadata.at(-1)!.get("x-weft-peer"), ["spiffe://weft.local/service/web"]);
});

test("a stream goes both ways", async () => {
  const call = caller.chat();
  const outcome = collect(call);
  for (let i = 0; i < 5; i++) {
    call.write(Buffer.from(`${i}`));
    assert.equal(String((await once(call, "data"))[0]), `${i}`);
  }
  call.end();
  assert.equal((await outcome).code, 0);
});

test("a cancelled call is cancelled at the other app", async () => {
  const call = caller.download("hang");
  const outcome = collect(call);
  await once(call, "data");
  call.cancel();
  assert.equal((await outcome).code, 1);
  await eventually("the app to hear of it", () => cancelled === 1);
});

test("what the rules deny is PERMISSION_DENIED", async () => {
  await assert.rejects(caller.upload([Buffer.from("x")]), { code: 7 });
});
