/** The cases of gRPC's interop client (grpc-go) that ask for no account of a cloud, and how one is run. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { programPath } from "../support/programs.ts";

const run = promisify(execFile);

/** By the client's own names; `pick_first_unary` is not among them, since this server does not name itself, as that asks. */
export const interopCases: Readonly<Record<string, readonly string[]>> = {
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

/** Runs one; fails with all that the client said when it does. */
export async function runCase(name: string, args: readonly string[]): Promise<void> {
  const { stderr } = await run(
    programPath("grpc-interop-client"),
    [`-test_case=${name}`, ...args],
    { timeout: 120_000, env: { ...process.env, GRPC_GO_LOG_SEVERITY_LEVEL: "info" } },
  );
  assert.match(stderr, /\[interop\] .*done/i);
}
