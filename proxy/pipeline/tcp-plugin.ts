/** The public plugin API for connections that carry no HTTP: those of `tcp`, `tls` and `auto` listeners. */

import type {
  Connection,
  ErrorCode,
  Host,
  Log,
  PluginDefinition,
  Slot,
  Stage,
  StandardSchema,
} from "./plugin.ts";

/** Closes the connection. Make one with {@link reject}. */
export class Rejection {
  /** For the log; the caller sees a reset and no reason. */
  readonly reason: string;
  constructor(reason: string) {
    this.reason = reason;
  }
}

/** Ends the connection: `return reject("not on the list")`. */
export function reject(reason: string): Rejection {
  return new Rejection(reason);
}

/** Who said something: `downstream` is the caller, `upstream` the endpoint. */
export type Direction = "downstream" | "upstream";

/** A connection from its acceptance to its end: what all hooks of all plugins on it share. */
export interface TcpConnection extends Connection {
  /** 32 hex digits: in the access log, and in the PROXY header (v2) to the service. */
  readonly id: string;
  /** Of the ClientHello, terminated here or not; null: none, or not read yet. */
  readonly serverName: string | null;
  /** Null until it is chosen: a listener that reads the server name first does not know it in `accept`. */
  readonly serviceName: string | null;
  /** Monotonic milliseconds (`host.now()`). */
  readonly startMs: number;
  readonly log: Log;
  get<T>(slot: Slot<T>): T | undefined;
  set<T>(slot: Slot<T>, value: T): void;
}

/** One try to reach an endpoint. */
export interface TcpAttempt {
  /** 1 for the first. */
  readonly number: number;
  readonly service: string;
  readonly endpoint: string;
  /** Code of the error that ended the try before; null on the first. */
  readonly previous: string | null;
}

/** How a connection ended. */
export interface TcpDone {
  readonly durationMs: number;
  /** Bytes of the caller. */
  readonly requestBytes: number;
  /** Bytes of the endpoint. */
  readonly responseBytes: number;
  readonly attempts: number;
  /** The last one tried; null: none. */
  readonly endpoint: string | null;
  /** `complete`: both sides ended; else who broke it off, or `error` when weft did. */
  readonly end: "complete" | "client-aborted" | "upstream-aborted" | "error";
  /** Why, when weft ended it, or no endpoint could be reached. */
  readonly code: ErrorCode | null;
  readonly detail: string;
}

type Maybe<T> = T | undefined | void;

/** What `setup` returns: only the hooks that this configuration needs, since an absent hook costs nothing. */
export interface TcpHooks {
  /** Once, after TLS and before an endpoint is chosen. `undefined`: go on; a rejection: close; a promise: wait. */
  accept?(conn: TcpConnection): Maybe<Rejection> | Promise<Maybe<Rejection>>;
  /**
   * With the first bytes of the caller, before an endpoint is chosen: once `peek.bytes` of them are there, the caller has
   * ended, or `peek.timeoutMs` are over, so that there may be fewer, or none. They are passed on in any case.
   */
  peek?(first: Uint8Array, conn: TcpConnection): Maybe<Rejection>;
  /** Per try, after the endpoint is chosen and before it is dialled. */
  attempt?(attempt: TcpAttempt, conn: TcpConnection): Maybe<Rejection>;
  /**
   * Each chunk, as it was read: where one ends and the next begins means nothing. Other bytes take its place (none: it is
   * dropped). Valid only during the call: copy what you keep.
   */
  data?(chunk: Uint8Array, from: Direction, conn: TcpConnection): Maybe<Uint8Array | Rejection>;
  /** Exactly once, whatever the end, when `accept` was reached. */
  done?(info: TcpDone, conn: TcpConnection): void;
}

/** The hooks of {@link defineTcpPlugin}. */
export interface TcpPluginHooks extends TcpHooks {
  /** The configuration that made this instance is gone and its last connection has ended. */
  close?(): void | Promise<void>;
}

/** How many of the first bytes the `peek` hook wants, and how long it waits for them. */
export interface PeekMode {
  readonly bytes: number;
  /** From the acceptance. Default 200: a service that speaks first is kept waiting for as long. */
  readonly timeoutMs?: number;
}

export interface TcpPluginDefinition<Config = unknown> {
  readonly name: string;
  /** Default `admit`. */
  readonly stage?: Stage;
  readonly before?: readonly string[];
  readonly after?: readonly string[];
  readonly apiVersion?: 1;
  readonly config?: StandardSchema<Config>;
  readonly provides?: readonly Slot<unknown>[];
  readonly requires?: readonly Slot<unknown>[];
  /** Needed by the `peek` hook. */
  readonly peek?: PeekMode;
  /** What a throw means: `closed` closes that connection, `open` goes on without the plugin. Default `closed`. */
  readonly onError?: "closed" | "open";
  /** One instance per listener, with `host.route` set to `listener:<name>`. Default false. */
  readonly perRoute?: boolean;
  /** For a promise of `accept`. Milliseconds or a duration; default 5 s. */
  readonly timeout?: number | string;
  readonly setup: (config: Config, host: Host) => TcpPluginHooks | Promise<TcpPluginHooks>;
}

/** Declares a plugin for the connections of `tcp`, `tls` and `auto` listeners; the default export of a plugin file. */
export function defineTcpPlugin<Config = undefined>(
  definition: TcpPluginDefinition<Config>,
): PluginDefinition<Config> {
  const { setup, stage = "admit", ...rest } = definition;
  return {
    ...rest,
    stage,
    modes: ["gateway"],
    protocols: ["tcp"],
    async setup(config, host) {
      const hooks = await setup(config, host);
      if (typeof hooks !== "object" || hooks === null) throw new Error("setup returned no hooks");
      const tcp = hooks;
      return { tcp, close: () => tcp.close?.() };
    },
  };
}
