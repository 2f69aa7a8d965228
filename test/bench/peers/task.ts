/** What a proxy of the benchmark is asked to do: the same for every peer. */

import fs from "node:fs";
import path from "node:path";
import { proxyCore } from "../process.ts";

/** What a proxy is to stand in front of, and how. */
export interface Task {
  /** The proxy's own folder, for configuration files. */
  readonly work: string;
  readonly port: number;
  /** A second port for whatever the proxy needs one for. */
  readonly adminPort: number;
  /** The origin's ports. */
  readonly upstreams: readonly number[];
  /** Terminate TLS with this certificate. */
  readonly tls: { readonly cert: string; readonly key: string } | null;
  /** What callers speak; default `http1`. */
  readonly down?: "http1" | "http2" | "tcp";
  /** What the origin speaks; default `http1`. */
  readonly up?: "http1" | "http2";
  /** What is asked for is gRPC: nginx forwards nothing else over HTTP/2. */
  readonly grpc?: boolean;
  /** Callers upgrade to WebSocket. */
  readonly upgrades?: boolean;
  /** weft only: routes, the last of which matches; default 1. */
  readonly routes?: number;
  /** weft only: trivial plugins on the route; default 0. */
  readonly plugins?: number;
  /** weft: plugins on the route, in YAML. Envoy: HTTP filters before the router, in JSON. */
  readonly policies?: readonly string[];
  /** weft only: further top-level lines of the configuration. */
  readonly config?: string;
  /** weft only: worker threads; default 1. */
  readonly workers?: number;
  /** Core to pin to; null: any. Default: the proxies' core. */
  readonly core?: number | null;
  /** weft only: options for node, e.g. `--cpu-prof`. */
  readonly nodeOptions?: readonly string[];
}

/** How to start a proxy for a task. */
export interface Launch {
  readonly command: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
}

/** Makes the files that a proxy needs and says how to start it; null when it cannot do the task. */
export type Peer = (task: Task) => Launch | null;

/** The core that the task is pinned to. */
export function coreOf(task: Task): number | null {
  return task.core === undefined ? proxyCore : task.core;
}

/** Writes a file into the task's folder and returns its path. */
export function put(task: Task, name: string, text: string): string {
  const file = path.join(task.work, name);
  fs.writeFileSync(file, text);
  return file;
}
