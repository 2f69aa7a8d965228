/** What the main thread and a worker say to each other. Plain data, posted between threads. */

import type { RefusedCaller } from "../control/admin/source.ts";
import type { Config, Problem } from "../control/config.ts";
import type { SeriesAnnouncement } from "../proxy/observe/metrics.ts";
import type { SharedHandles } from "../proxy/observe/shared.ts";
import type { LogLevel, LogRecord } from "./log.ts";

/** Which routing world a listener belongs to. */
export type PlaneName = "edge" | "outbound" | "inbound";

/** A listener of the configuration, as workers open it. */
export interface ListenPoint {
  /** Names the listener over reloads: two with the same key are the same socket. */
  readonly key: string;
  readonly name: string;
  readonly plane: PlaneName;
  /** As bound: an address and the real port. */
  readonly host: string;
  readonly port: number;
  /** A listening socket's descriptor, owned by the worker from now on; null: listen by yourself, with `reusePort`. */
  readonly descriptor: number | null;
}

/** What a worker is started with. */
export interface WorkerStart {
  readonly slot: number;
  /** Number of the thread in shared memory. */
  readonly thread: number;
  readonly mode: "gateway" | "mesh";
  readonly version: number;
  readonly config: Config;
  readonly points: readonly ListenPoint[];
  /** Of the whole process. */
  readonly workers: number;
  /** Callers' connections that the descriptors of the process carry. */
  readonly connections: number;
  readonly shared: SharedHandles;
  /** 48 bytes: TLS sessions resume whichever worker accepts them. */
  readonly ticketKeys: Uint8Array;
  readonly logLevel: LogLevel;
}

export type ToWorker =
  | { readonly type: "prepare"; readonly version: number; readonly config: Config }
  | { readonly type: "commit"; readonly version: number; readonly points: readonly ListenPoint[] }
  | { readonly type: "abort"; readonly version: number }
  /** Accept for another slot too, whose worker is being replaced. */
  | { readonly type: "adopt"; readonly slot: number; readonly points: readonly ListenPoint[] }
  | { readonly type: "release"; readonly slot: number }
  /** Stop accepting, finish what runs, cut what is left shortly before `limitMs`, then answer `drained`. */
  | { readonly type: "drain"; readonly limitMs: number }
  | { readonly type: "log-level"; readonly level: LogLevel }
  /** TLS sessions are sealed with these from now on; those sealed with the ones before do not resume. */
  | { readonly type: "ticket-keys"; readonly keys: Uint8Array };

export type FromWorker =
  /** Its memory is full of what it does not let go. */
  | { readonly type: "exhausted" }
  /** Started, and listening. */
  | { readonly type: "ready"; readonly page: SharedArrayBuffer }
  /** Could not start: the configuration cannot be used. */
  | { readonly type: "failed"; readonly problems: readonly Problem[] }
  /** Null: ready to commit. */
  | {
      readonly type: "prepared";
      readonly version: number;
      readonly problems: readonly Problem[] | null;
    }
  /** `problem`: a listener could not be opened; the others serve. */
  | { readonly type: "committed"; readonly version: number; readonly problem: string | null }
  | { readonly type: "drained" }
  | { readonly type: "series"; readonly series: readonly SeriesAnnouncement[] }
  | { readonly type: "log"; readonly records: readonly LogRecord[] }
  | { readonly type: "refused"; readonly callers: readonly RefusedCaller[] }
  | { readonly type: "access"; readonly lines: string };
