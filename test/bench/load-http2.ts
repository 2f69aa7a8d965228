/** The load over HTTP/2: h2load on the other core. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import type { LoadResult } from "./load.ts";
import { otherCore, pin } from "./process.ts";

/** Eight connections with 32 streams each, unless something else is said. */
export const http2Connections = 8;
export const http2Streams = 32;

/** How hard to push. */
export interface Http2LoadOptions {
  readonly url: string;
  /** Default {@link http2Connections}. */
  readonly connections?: number;
  /** Requests at a time on each; default {@link http2Streams}. */
  readonly streams?: number;
  /** How long, or how many requests. */
  readonly seconds?: number;
  readonly requests?: number;
  /** Extra request fields. */
  readonly headers?: Readonly<Record<string, string>>;
  /** POST this file; default: GET. */
  readonly bodyFile?: string;
  /** Speak HTTP/1.1 all the same. */
  readonly isHttp1?: boolean;
}

/** What one run did; h2load knows no percentiles. */
export interface Http2LoadResult extends LoadResult {
  /** Of bodies. */
  readonly bytes: number;
}

/** Runs h2load once. A run in which it counted nothing at all (on a busy machine it now and then ends at once) is repeated. */
export async function loadHttp2(options: Http2LoadOptions): Promise<Http2LoadResult> {
  const result = await run(options);
  return result.requests > 0 ? result : run(options);
}

async function run(options: Http2LoadOptions): Promise<Http2LoadResult> {
  const { connections = http2Connections, streams = http2Streams, headers = {} } = options;
  const amount =
    options.requests === undefined
      ? ["-D", `${Math.round((options.seconds ?? 1) * 1000)}ms`]
      : ["-n", String(options.requests)];
  const fields = Object.entries(headers).flatMap(([name, value]) => ["-H", `${name}: ${value}`]);
  const command = pin(otherCore, [
    "h2load",
    "-t1",
    `-c${connections}`,
    `-m${streams}`,
    ...amount,
    ...fields,
    ...(options.bodyFile === undefined ? [] : ["-d", options.bodyFile]),
    ...(options.isHttp1 === true ? ["--h1"] : []),
    options.url,
  ]);
  const child = spawn(command[0]!, command.slice(1), { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
  await once(child, "close");
  const number = (pattern: RegExp): number => {
    const match = pattern.exec(output);
    if (match === null) throw new Error(`h2load gave no report for ${options.url}: ${output}`);
    return Number(match[1]);
  };
  const requests = number(/(\d+) done/);
  const perSecond = number(/finished in [^,]+, ([\d.]+) req\/s/);
  return {
    requests,
    errors: requests - number(/status codes: (\d+) 2xx/) + number(/, (\d+) errored/),
    seconds: requests / perSecond,
    bytes: number(/\((\d+)\) data/),
    medianMs: Number.NaN,
    p99Ms: Number.NaN,
  };
}
