/** gRPC's own interop client and server (grpc-go) with weft between them: every case that asks for no account of a cloud. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { eventually } from "../support/eventually.ts";
import { missingPrograms } from "../support/programs.ts";
import { interopCases, runCase } from "./grpc-cases.ts";
import { crossings, GrpcServing, type Access } from "./grpc-serving.ts";

function whereTo(access: Access): string[] {
  const to = [`-server_host=${access.host}`, `-server_port=${access.port}`];
  if (access.serverName === null) return to;
  return [
    ...to,
    "-use_tls",
    "-use_test_ca",
    `-ca_file=${access.ca}`,
    `-server_host_override=${access.serverName}`,
  ];
}

describe(
  "gRPC's interop pair",
  { skip: missingPrograms("grpc-interop-client", "grpc-interop-server") },
  () => {
    let serving: GrpcServing;
    before(async () => {
      serving = await GrpcServing.start();
    });
    after(() => serving?.stop());

    for (const crossing of crossings) {
      describe(`called ${crossing.caller}, served ${crossing.server}`, () => {
        for (const [name, args] of Object.entries(interopCases)) {
          test(name, async () => {
            await runCase(name, [...args, ...whereTo(serving.access(crossing))]);
          });
        }
      });
    }

    test("nothing was a violation of HTTP/2, and no exchange is left", async () => {
      const { gateway } = serving;
      assert.equal(await gateway.metric("weft_protocol_errors_total"), 0);
      await eventually("every exchange to be over", async () => {
        return (await gateway.metric("weft_active_requests")) === 0;
      });
      assert.doesNotMatch(gateway.stderr, /internal error/);
    });
  },
);
