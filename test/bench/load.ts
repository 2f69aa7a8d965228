/** The load: wrk on the other core, with its counts read from a report of our own. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import { otherCore, pin } from "./process.ts";

/** What one run of wrk did. */
export interface LoadResult {
  readonly requests: number;
  /** Answers other than 2xx and 3xx, and socket errors. */
  readonly errors: number;
  readonly seconds: number;
  /** NaN where the client does not say. */
  readonly medianMs: number;
  readonly p99Ms: number;
  /** CPU of the proxy, where not all of the load counts. */
  readonly cpuSeconds?: number;
}

/** How hard to push. */
export interface LoadOptions {
  readonly url: string;
  readonly connections: number;
  readonly seconds: number;
  /** Extra request fields. */
  readonly headers?: Readonly<Record<string, string>>;
  /** POST a body of so many bytes; default: GET. */
  readonly bodyBytes?: number;
  /** Lua for wrk, when its requests differ from each other. */
  readonly script?: string;
  /** Ends the load before its time. */
  readonly signal?: AbortSignal;
}

const report = `
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("REPORT %d %d %d %d %d\\n", summary.requests,
    e.connect + e.read + e.write + e.status + e.timeout, summary.duration,
    latency:percentile(50), latency:percentile(99)))
end
`;

/** Runs wrk once, in folder `work`. */
export async function load(work: string, options: LoadOptions): Promise<LoadResult> {
  const { bodyBytes = 0, headers = {} } = options;
  const script = path.join(work, "load.lua");
  const body = `wrk.method = "POST"\nwrk.body = string.rep("x", ${bodyBytes})\n`;
  fs.writeFileSync(script, (bodyBytes > 0 ? body : "") + (options.script ?? "") + report);
  const fields = Object.entries(headers).flatMap(([name, value]) => ["-H", `${name}: ${value}`]);
  // wrk takes whole seconds only: shorter runs are ended by a signal, on which it reports as well
  const flags = ["-t1", `-c${options.connections}`, "-d60s", "--timeout", "5s", ...fields];
  const command = pin(otherCore, ["wrk", ...flags, "-s", script, options.url]);
  const child = spawn(command[0]!, command.slice(1), { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const stop = (): unknown => child.kill("SIGINT");
  const timer = setTimeout(stop, options.seconds * 1000);
  options.signal?.addEventListener("abort", stop);
  await once(child, "close");
  clearTimeout(timer);
  options.signal?.removeEventListener("abort", stop);
  const match = /REPORT (\d+) (\d+) (\d+) (\d+) (\d+)/.exec(output);
  if (match === null) throw new Error(`wrk gave no report for ${options.url}: ${output}`);
  const [, requests, errors, duration, median, p99] = match.map(Number);
  return {
    requests: requests!,
    errors: errors!,
    seconds: duration! / 1e6,
    medianMs: median! / 1000,
    p99Ms: p99! / 1000,
  };
}
