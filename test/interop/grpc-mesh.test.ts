/** gRPC's interop pair as two apps in the mesh: through the caller's sidecar, mTLS and the callee's sidecar. */

import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { createAuthority, issueCertificate } from "../../control/authority/authority.ts";
import { Program } from "../bench/process.ts";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";
import { freePort } from "../support/ports.ts";
import { missingPrograms, programPath } from "../support/programs.ts";
import { interopCases, runCase } from "./grpc-cases.ts";

/** The client has no way to ask for another authority than the host that it connects to. */
const callee = "localhost";

describe(
  "gRPC's interop pair in the mesh",
  { skip: missingPrograms("grpc-interop-client", "grpc-interop-server") },
  () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "weft-interop-mesh-"));
    let app: Program;
    let theirs: Gateway;
    let ours: Gateway;

    function sidecar(service: string, appPort: number, more: string): Promise<Gateway> {
      return Gateway.start({
        mode: "mesh",
        ports: 2,
        config: ({ port, admin }) => `
mesh:
  service: ${service}
  app: 127.0.0.1:${appPort}
  outbound: 127.0.0.1:${port[0]}
  inbound: 127.0.0.1:${port[1]}
  identity: { cert: ${folder}/${service}.crt, key: ${folder}/${service}.key, bundle: ${folder}/bundle.crt }
admin: { address: "127.0.0.1:${admin}" }
${more}
`,
      });
    }

    before(async () => {
      const port = await freePort();
      const command = [programPath("grpc-interop-server"), `-port=${port}`];
      app = await Program.start("interop server", command, { core: null, ports: [port] });
      await createAuthority(folder, "weft.local");
      for (const service of ["web", callee])
        await issueCertificate({ service, ca: folder, out: folder });
      const rule = `{ to: ${callee}, from: [web] }`;
      theirs = await sidecar(callee, port, `access: { rules: [${rule}] }`);
      const service = `{ endpoints: ["127.0.0.1:${theirs.ports[1]}"], protocol: http2 }`;
      ours = await sidecar("web", 1, `services: { ${callee}: ${service} }`);
    });
    after(async () => {
      await ours?.[Symbol.asyncDispose]();
      await theirs?.[Symbol.asyncDispose]();
      await app?.stop();
      fs.rmSync(folder, { recursive: true, force: true });
    });

    for (const [name, args] of Object.entries(interopCases))
      test(name, () =>
        runCase(name, [...args, `-server_host=${callee}`, `-server_port=${ours.ports[0]}`]),
      );

    test("both sidecars have counted the calls, and hold none of them any more", async () => {
      for (const gateway of [ours, theirs]) {
        await eventually("every exchange to be over", async () => {
          return (await gateway.metric("weft_active_requests")) === 0;
        });
        assert.ok((await gateway.metric("weft_requests_total")) >= 50);
        assert.equal(await gateway.metric("weft_protocol_errors_total"), 0);
        assert.doesNotMatch(gateway.stderr, /internal error/);
      }
    });
  },
);
