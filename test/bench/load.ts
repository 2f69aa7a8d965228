/** The load: wrk on the other core, with its counts read from a report of our own. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import { hasProgram, otherCore } from "./process.ts";

/** What one run of wrk did. */
export interface LoadResult {
  readonly requests: number;
  /** Answers other than 2xx and 3xx, and socket errors. */
  readonly errors: number;
  readonly seconds: number;
  readonly medianMs: number;
  readonly p99Ms: number;
}

/** How hard to push. */
export interface LoadOptions {
  readonly url: string;
  readonly connections: number;
  readonly seconds: number;
  /** Extra request fields. */
  readonly headers?: Readonly<Record<string, string>>;
}

const report = `
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("REPORT %d %d %d %d %d\\n", summary.requests,
    e.connect + e.read + e.write + e.status + e.timeout, summary.duration,
    latency:percentile(50), latency:percentile(99)))
end
`;

/** Runs h2load once: eight connections of 32 streams. The latencies are h2load's mean and maximum. */
export async function loadHttp2(url: string, seconds: number): Promise<LoadResult> {
  const pin = hasProgram("taskset") ? ["taskset", "-c", String(otherCore)] : [];
  const command = [...pin, "h2load", "-t1", "-c8", "-m32", `-D${Math.ceil(seconds)}`, url];
  const child = spawn(command[0]!, command.slice(1), { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
  await once(child, "close");
  const done = /requests: (\d+) total, \d+ started, (\d+) done, (\d+) succeeded/.exec(output);
  const finished = /finished in ([\d.]+)(m?s)/.exec(output);
  if (done === null || finished === null)
    throw new Error(`h2load gave no report for ${url}: ${output}`);
  const latency = /time for request:\s+\S+\s+([\d.]+)(us|ms|s)\s+([\d.]+)(us|ms|s)/.exec(output);
  const ms = (value: string | undefined, unit: string | undefined) =>
    Number(value ?? 0) * (unit === "us" ? 0.001 : unit === "s" ? 1000 : 1);
  return {
    requests: Number(done[2]),
    errors: Number(done[2]) - Number(done[3]),
    seconds: ms(finished[1], finished[2]) / 1000,
    medianMs: ms(latency?.[3], latency?.[4]),
    p99Ms: ms(latency?.[1], latency?.[2]),
  };
}

/** Runs wrk once, in folder `work`. */
export async function load(work: string, options: LoadOptions): Promise<LoadResult> {
  const script = path.join(work, "report.lua");
  fs.writeFileSync(script, report);
  const pin = hasProgram("taskset") ? ["taskset", "-c", String(otherCore)] : [];
  const headers = Object.entries(options.headers ?? {}).flatMap(([name, value]) => [
    "-H",
    `${name}: ${value}`,
  ]);
  // wrk takes whole seconds only: shorter runs are ended by a signal, on which it reports as well
  const command = [
    ...pin,
    "wrk",
    "-t1",
    `-c${options.connections}`,
    "-d30s",
    "--timeout",
    "5s",
    ...headers,
  ];
  const child = spawn("sh", ["-c", 'exec "$@"', "sh", ...command, "-s", script, options.url], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const timer = setTimeout(() => child.kill("SIGINT"), options.seconds * 1000);
  await once(child, "close");
  clearTimeout(timer);
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
