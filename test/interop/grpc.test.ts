/** gRPC's own interop client and server (grpc-go) with weft between them: every case that asks for no account of a cloud. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { after, before, describe, test } from "node:test";
import { eventually } from "../support/eventually.ts";
import { missingPrograms, programPath } from "../support/programs.ts";
import { crossings, GrpcServing, type Access } from "./grpc-serving.ts";

const run = promisify(execFile);

/** By the client's own names; `pick_first_unary` is not among them, since this server does not name itself, as that asks. */
const cases: Readonly<Record<string, readonly string[]>> = {
  empty_unary: [],
  large_unary: [],
  client_streaming: [],
  server_streaming: [],
  ping_pong: [],
  empty_stream: [],
  timeout_on_sleeping_server: [],
  cancel_after_begin: [],
  cancel_after_first_response: [],
  status_code_and_message: [],
  special_status_message: [],
  custom_metadata: [],
  unimplemented_method: [],
  unimplemented_service: [],
  orca_per_rpc: [orcaBalancer()],
  orca_oob: [orcaBalancer()],
  rpc_soak: ["-soak_iterations=20", "-soak_num_threads=4", "-soak_overall_timeout_seconds=60"],
  channel_soak: ["-soak_iterations=20", "-soak_num_threads=4", "-soak_overall_timeout_seconds=60"],
};

/** The cases of load reports want the client's own test balancer. */
function orcaBalancer(): string {
  const balancer = { test_backend_metrics_load_balancer: {} };
  return `-service_config_json=${JSON.stringify({ loadBalancingConfig: [balancer] })}`;
}

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
        for (const [name, args] of Object.entries(cases)) {
          test(name, async () => {
            // the client ends with a code other than 0, and says why, when a case fails
            const { stderr } = await run(
              programPath("grpc-interop-client"),
              [`-test_case=${name}`, ...args, ...whereTo(serving.access(crossing))],
              { timeout: 120_000, env: { ...process.env, GRPC_GO_LOG_SEVERITY_LEVEL: "info" } },
            );
            assert.match(stderr, /\[interop\] .*done/i);
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
