/** What the admin API needs of the process that it shows: the supervisor implements this, tests implement it in a few lines. */

import type { Config, Problem } from "../config.ts";

/** A listening socket of the data path. */
export interface ListenerState {
  readonly name: string;
  /** `host:port` as bound, with the real port when the configuration says 0. */
  readonly address: string;
  readonly plane: "edge" | "outbound" | "inbound";
  readonly secure: boolean;
  readonly open: boolean;
}

/** Why `/readyz` says what it says. Ready: every listener open, a snapshot in effect, not draining. */
export interface Readiness {
  readonly ready: boolean;
  readonly listeners: readonly ListenerState[];
  /** Version of the snapshot in effect in every worker; null before the first. */
  readonly snapshot: number | null;
  readonly draining: boolean;
  /** The last configuration that was refused; null once a later one is in effect. */
  readonly lastRejected: Rejection | null;
}

/** A configuration that was refused as a whole. */
export interface Rejection {
  /** Milliseconds since the epoch. */
  readonly atMs: number;
  readonly problems: readonly AdminProblem[];
}

/** A problem with its place in the file when it has one; `control/load.ts` makes these. */
export interface AdminProblem extends Problem {
  readonly file?: string | null;
  /** 1-based. */
  readonly line?: number | null;
  /** 1-based. */
  readonly column?: number | null;
  /** Text of that line. */
  readonly source?: string | null;
}

/** The configuration in effect. */
export interface AppliedConfig {
  /** Counts up by one per applied configuration, from 1. */
  readonly version: number;
  readonly config: Config;
  /** Milliseconds since the epoch. */
  readonly appliedAtMs: number;
  /** Where it came from: the file's path, or `PUT /config`. */
  readonly origin: string;
}

/** The end of a reload or a `PUT /config`: in effect everywhere, or nothing changed. */
export type ApplyResult =
  | { readonly ok: true; readonly version: number }
  | { readonly ok: false; readonly problems: readonly AdminProblem[] };

/** Live state of one endpoint, over all workers. */
export interface EndpointState {
  /** As configured. */
  readonly address: string;
  /** May be picked now. */
  readonly healthy: boolean;
  /** `unhealthy`: active checks failed; `ejected`: it failed calls and is left alone for a while; `unknown`: not checked yet. */
  readonly state: "healthy" | "unhealthy" | "ejected" | "unknown";
  /** Milliseconds since the epoch; null: not ejected. */
  readonly ejectedUntilMs: number | null;
}

export const logLevels = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
export type LogLevel = (typeof logLevels)[number];

/** A caller whom a limit refused lately. */
export interface RefusedCaller {
  readonly route: string;
  /** With ` (shadow)` after it when nothing was refused in truth. */
  readonly policy: string;
  /** Who: an address, `consumer acme`, `header ...`. */
  readonly caller: string;
  /** Milliseconds since the epoch: from then on a request would be let through. */
  readonly untilMs: number;
  readonly times: number;
}

/** The running process as the admin API sees it. Nothing here may throw for what a caller sent. */
export interface AdminSource {
  readonly mode: "gateway" | "mesh";
  /** Milliseconds since the epoch. */
  readonly startedAtMs: number;
  readonly workers: number;
  /** False only when the process cannot go on and should be restarted. */
  live(): boolean;
  readiness(): Readiness;
  /** Null before the first snapshot. */
  current(): AppliedConfig | null;
  /** State of every endpoint of a service; empty for an unknown one. */
  endpoints(service: string): readonly EndpointState[];
  /** Whatever caches keep of the URL's path, or of everything when null, is old from now on, in every worker. */
  purge?(url: URL | null): void;
  /** Callers refused by limits lately, over all workers; the most refused first. Absent: none are known. */
  refused?(): readonly RefusedCaller[];
  /** Prometheus text (CONTRACT section 7). */
  metrics(): string;
  /** Reads the file again and applies it. */
  reload(): Promise<ApplyResult>;
  /** Applies this text as the whole configuration; JSON is valid YAML. In effect until the file changes or SIGHUP. */
  apply(text: string): Promise<ApplyResult>;
  /** Begins to drain, as SIGTERM does, but the process stays; returns at once. */
  drain(): void;
  readonly logLevel: LogLevel;
  setLogLevel(level: LogLevel): void;
}
