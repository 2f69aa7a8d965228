/** The public plugin API (`weft/plugin`): everything that acts on traffic is written against this file, the built-in plugins included. */

import type { ErrorCode, ProxyError } from "../errors.ts";
import type { Fields, FieldName } from "../http/fields.ts";
import type { RequestHead, ResponseHead } from "../http/head.ts";
import type { PeekMode, TcpHooks } from "./tcp-plugin.ts";

export { defineTcpPlugin, reject, Rejection } from "./tcp-plugin.ts";
export type {
  Direction,
  PeekMode,
  TcpAttempt,
  TcpConnection,
  TcpDone,
  TcpHooks,
  TcpPluginDefinition,
  TcpPluginHooks,
} from "./tcp-plugin.ts";
export type { ErrorCode, ProxyError, Fields, FieldName, RequestHead, ResponseHead };

/** Stages in the order in which they run on the way in; the way out is the exact reverse. */
export const stages = ["observe", "admit", "authn", "authz", "limit", "transform"] as const;
export type Stage = (typeof stages)[number];

/** Where a plugin runs. */
export const modes = ["gateway", "mesh-outbound", "mesh-inbound"] as const;
export type Mode = (typeof modes)[number];

/** The part of Standard Schema v1 (standardschema.dev) that weft needs: zod, valibot and arktype all have it. */
export interface StandardSchema<Output = unknown> {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>;
    readonly types?: { readonly input: unknown; readonly output: Output } | undefined;
  };
}
export type StandardResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly StandardIssue[] };
export interface StandardIssue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** An answer made by a plugin. Make one with {@link reply} or {@link problem}. */
export class Reply {
  readonly status: number;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: string | Uint8Array | null;
  /** Set: the body is a problem document (or gRPC status, or HTML) made from this code and `detail`. */
  readonly code: ErrorCode | null;
  readonly detail: string;
  /** Extra members of the problem document. */
  readonly members: Readonly<Record<string, unknown>> | null;
  constructor(
    status: number,
    headers: readonly (readonly [string, string])[],
    body: string | Uint8Array | null,
    code: ErrorCode | null = null,
    detail = "",
    members: Readonly<Record<string, unknown>> | null = null,
  ) {
    this.status = status;
    this.headers = headers;
    this.body = body;
    this.code = code;
    this.detail = detail;
    this.members = members;
  }
}

/**
 * Stops the request phase with this answer.
 * A text with a status of 400 or more is the `detail` of a problem document; with another status, or with a
 * `content-type` of its own, it is sent as it is.
 */
export function reply(status: number, headers: Readonly<Record<string, string>>): Reply;
export function reply(
  status: number,
  body?: string | Uint8Array | null,
  headers?: Readonly<Record<string, string>>,
): Reply;
export function reply(
  status: number,
  bodyOrHeaders?: string | Uint8Array | null | Readonly<Record<string, string>>,
  headers: Readonly<Record<string, string>> = {},
): Reply {
  if (
    typeof bodyOrHeaders === "object" &&
    bodyOrHeaders !== null &&
    !(bodyOrHeaders instanceof Uint8Array)
  ) {
    return reply(status, null, bodyOrHeaders);
  }
  const body = bodyOrHeaders ?? null;
  const pairs = Object.entries(headers);
  const typed = pairs.some(([name]) => name.toLowerCase() === "content-type");
  if (status >= 400 && !typed && !(body instanceof Uint8Array)) {
    return new Reply(status, pairs, null, codeOfStatus(status), body ?? "");
  }
  if (typeof body === "string" && !typed) pairs.push(["content-type", "text/plain; charset=utf-8"]);
  return new Reply(status, pairs, body);
}

/** Stops the request phase with an answer of weft's catalogue; `members` are added to the problem document. */
export function problem(
  code: ErrorCode,
  status: number,
  detail: string,
  headers: Readonly<Record<string, string>> = {},
  members: Readonly<Record<string, unknown>> | null = null,
): Reply {
  return new Reply(status, Object.entries(headers), null, code, detail, members);
}

function codeOfStatus(status: number): ErrorCode {
  switch (status) {
    case 401:
      return "unauthenticated";
    case 403:
      return "forbidden";
    case 404:
      return "no-route";
    case 405:
      return "method-not-allowed";
    case 408:
      return "request-timeout";
    case 413:
      return "body-too-large";
    case 429:
      return "rate-limited";
    case 502:
      return "upstream-invalid";
    case 503:
      return "overloaded";
    case 504:
      return "deadline-exceeded";
    default:
      return status >= 500 ? "plugin-error" : "bad-request";
  }
}

/** A typed place on an exchange that one plugin fills and others read. */
export class Slot<T> {
  readonly name: string;
  declare readonly type: T;
  constructor(name: string) {
    this.name = name;
  }
}

/** `const Tenant = slot<{ id: string }>('tenant')` */
export function slot<T>(name: string): Slot<T> {
  return new Slot<T>(name);
}

/** Claims of the verified token: filled by `jwt` and its kin, read by rate limits, conditions and the access log. */
export const Claims: Slot<Readonly<Record<string, unknown>>> = slot("claims");

/** The verified identity at the other end of an mTLS connection. */
export interface Peer {
  /** SPIFFE URI, e.g. `spiffe://weft.local/service/web`. */
  readonly id: string;
  readonly trustDomain: string;
  /** Last path part when the URI is `/service/<name>`, else the path. */
  readonly service: string;
}

/** Who an API key or token stands for. */
export interface Consumer {
  readonly name: string;
  readonly plan: string | null;
  readonly groups: readonly string[];
}

export interface Client {
  /** Address of the caller: of the socket, or of the last untrusted hop. */
  readonly address: string;
  readonly port: number;
  /** Address of the socket itself. */
  readonly socketAddress: string;
  readonly tls: TlsInfo | null;
}

export interface TlsInfo {
  readonly version: string;
  readonly cipher: string;
  readonly serverName: string | null;
  readonly alpn: string | null;
  /** Subject and SANs of a verified client certificate. */
  readonly clientCertificate: {
    readonly subject: string;
    readonly uris: readonly string[];
    readonly dnsNames: readonly string[];
    readonly fingerprint256: string;
  } | null;
}

export interface Log {
  debug(message: string, fields?: Readonly<Record<string, unknown>>): void;
  info(message: string, fields?: Readonly<Record<string, unknown>>): void;
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
  error(message: string, fields?: Readonly<Record<string, unknown>>): void;
}

/** What a plugin knows about the exchange besides the heads. */
export interface Ctx {
  /** The request's head, for hooks that are not given it. */
  readonly req: RequestHead;
  readonly mode: Mode;
  /** The request id: on the wire as `x-request-id`, in the log, and `instance` of a problem. A plugin in `observe` may replace it. */
  id: string;
  readonly routeName: string;
  /** The service chosen; a `request` hook may pick another with {@link pickService}. */
  readonly serviceName: string | null;
  readonly client: Client;
  readonly peer: Peer | null;
  /** Set by `authn` plugins. */
  consumer: Consumer | null;
  /** Monotonic milliseconds (`host.now()`) at which the head was complete. */
  readonly startMs: number;
  /** Monotonic milliseconds after which no answer is of use; 0: none. */
  readonly deadlineMs: number;
  /** Aborted when the exchange ends early. Made on first use. */
  readonly signal: AbortSignal;
  readonly log: Log;
  get<T>(slot: Slot<T>): T | undefined;
  set<T>(slot: Slot<T>, value: T): void;
  /**
   * Sends a copy of the request, without its body, to the route's service, past the plugins, and gives the whole answer:
   * to refresh what a plugin keeps. It is an exchange of its own, and goes on when this one has ended. Only in `request`.
   * Null: no whole answer of at most `limitBytes` came. Never rejects.
   * @param change edits the fields of the copy
   */
  again(change: (headers: Fields) => void, limitBytes: number): Promise<OtherAnswer | null>;
  /** Sends the request to another service of the configuration. Throws on an unknown name. Only in `request`. */
  pickService(name: string): void;
}

/** The answer to {@link Ctx.again}. */
export interface OtherAnswer {
  readonly status: number;
  readonly source: ResponseHead["source"];
  readonly headers: Fields;
  readonly body: Buffer;
}

/** A request before routing: `rewrite` and changes of `method` decide about the route. */
export type EarlyRequest = RequestHead;

/** One try at an endpoint. `headers` are those of this try only: edits do not reach a later one. */
export interface AttemptInfo {
  /** 1 for the first. */
  readonly number: number;
  readonly service: string;
  readonly endpoint: string;
  readonly headers: Fields;
  /** Why the previous try failed; null on the first. */
  readonly previous: string | null;
}

export interface AttemptOutcome extends AttemptInfo {
  /** True when a response head arrived. */
  readonly ok: boolean;
  /** 0 when none arrived. */
  readonly status: number;
  readonly error: ProxyError | null;
  /** Milliseconds from the start of this try to its head or its failure. */
  readonly durationMs: number;
}

/** A whole body, for plugins that declare `{ buffer }`. */
export interface BufferedBody {
  readonly bytes: Uint8Array;
  text(): string;
  json(): unknown;
  set(bytes: Uint8Array | string): void;
  setJson(value: unknown): void;
}

/** How the exchange ended. */
export interface DoneInfo {
  /** 0 when no answer was sent. */
  readonly status: number;
  readonly code: ErrorCode | null;
  /** The sentence that went into weft's own answer; empty or absent: none. */
  readonly detail?: string;
  readonly durationMs: number;
  readonly requestBytes: number;
  readonly responseBytes: number;
  readonly attempts: number;
  readonly endpoint: string | null;
  /** `complete`, or who ended it early. */
  readonly end: "complete" | "client-aborted" | "upstream-aborted" | "error";
}

export interface Connection {
  readonly client: Client;
  readonly peer: Peer | null;
  readonly listener: string;
}

type Maybe<T> = T | undefined | void;

/** What `setup` returns: only the hooks that this configuration needs, since an absent hook costs nothing. */
export interface Hooks {
  /** Once per accepted connection, after TLS, on every listener when it stands on the global list. A reply closes it (its body is not sent before a request). */
  connection?(conn: Connection): Maybe<Reply>;
  /** Before the route is matched; only for plugins on the global list. */
  early?(req: EarlyRequest, ctx: Ctx): Maybe<Reply>;
  /** After the route is known, once whatever the number of attempts. `undefined`: go on; a reply: stop; a promise: wait. */
  request?(req: RequestHead, ctx: Ctx): Maybe<Reply> | Promise<Maybe<Reply>>;
  /**
   * Stream form: each chunk; return other bytes to replace them. `last` is true once, perhaps with no bytes.
   * Buffer form (with `body.request.buffer`): see {@link BufferedRequestHook}.
   */
  requestBody?: StreamHook | BufferHook;
  /** Per try, after the endpoint is chosen and before anything is written. */
  attempt?(attempt: AttemptInfo, ctx: Ctx): Maybe<Reply>;
  /** Advice after a try: `retry` asks for another (still only when that is safe), `fail` forbids it. */
  attemptResult?(outcome: AttemptOutcome, ctx: Ctx): Maybe<"retry" | "fail">;
  /** Once, for the head that will be sent, weft's own answers included (`res.source`). */
  response?(res: ResponseHead, ctx: Ctx): Maybe<Reply> | Promise<Maybe<Reply>>;
  responseBody?: StreamHook | BufferHook;
  /** An error is about to become an answer: may map it to another. */
  error?(error: ProxyError, ctx: Ctx): Maybe<Reply>;
  /** Exactly once, whatever the end. */
  done?(info: DoneInfo, ctx: Ctx): void;
  /** What it does on connections that carry no HTTP, when it stands on a listener's list: see `protocols`. */
  tcp?: TcpHooks;
  /** The configuration that made this instance is gone and its last exchange has ended. */
  close?(): void | Promise<void>;
}

/**
 * Bytes replace the chunk (none: it is dropped), `undefined` passes it on, a reply ends the exchange if no answer was begun.
 * The chunk is valid only during the call (until the promise settles for an `async function`): copy what you keep.
 */
export type StreamHook = (
  chunk: Uint8Array,
  ctx: Ctx,
  last: boolean,
) => Maybe<Uint8Array | Reply> | Promise<Maybe<Uint8Array | Reply>>;
export type BufferHook = (body: BufferedBody, ctx: Ctx) => Maybe<Reply> | Promise<Maybe<Reply>>;

/** How a plugin takes bodies. `when` is asked with the head: false leaves that body untouched and unbuffered. */
export interface BodyMode<Head> {
  /** Bytes, or a size text such as `64KiB`. Absent: stream. */
  readonly buffer?: number | string;
  /** A body over `buffer`: refuse (413 for a request, 502 for a response) or pass it by. Default `reject`. */
  readonly overflow?: "reject" | "bypass";
  /** Stream form: the hook looks and changes nothing, so that the length stays known. Default false. */
  readonly keeps?: boolean;
  readonly when?: (head: Head, ctx: Ctx) => boolean;
}

export interface Counter {
  inc(labels?: readonly string[], by?: number): void;
}

/** A bounded cache of one worker, with expiry. */
export interface LocalCache<V> {
  get(key: string): V | undefined;
  set(key: string, value: V, ttlMs?: number): void;
  delete(key: string): void;
  clear(): void;
  readonly size: number;
}

/** Counting that is exact over all worker threads of the process (shared memory). */
export interface SharedLimiter {
  /**
   * Takes `cost` from the key's allowance, if it has that much.
   * @param force take it in any case: what was used already is owed, and later requests wait for it
   */
  take(key: string, cost: number, force?: boolean): LimitDecision;
}

/** What a plan of the configuration allows: so many requests in each window. */
export interface Plan {
  readonly limit: number;
  readonly windowMs: number;
  /** Absent: it has none. */
  readonly quota?: { readonly limit: number; readonly per: "day" | "month" };
}

/** Counts what runs at once, exactly over all worker threads of the process (shared memory). */
export interface SharedGate {
  /** Null: as many as the limit are inside. */
  enter(key: string): Permit | null;
}
export interface Permit {
  /** How many more may enter now. */
  readonly remaining: number;
  /** Once; further calls do nothing. What a dead worker held is given back by the process. */
  leave(): void;
}
export interface GateSpec {
  /** Stable over reloads. Usually `route/name`. */
  readonly id: string;
  readonly limit: number;
}

/** Numbers by key, over all worker threads: keep one beside what you keep, and compare before you use it. */
export interface SharedGenerations {
  of(key: string): number;
  /** Whatever was kept for the key is old now, in every thread. */
  advance(key: string): void;
}

/** A caller who was refused by a limit: for the admin API. */
export interface Refusal {
  readonly policy: string;
  /** Who: an address, `consumer acme`, a header's value. */
  readonly caller: string;
  /** Milliseconds until a request would be let through. */
  readonly forMs: number;
}
export interface LimitDecision {
  readonly allowed: boolean;
  readonly limit: number;
  /** What is left now. */
  readonly remaining: number;
  /** Milliseconds until the allowance is full again. */
  readonly resetMs: number;
  /** Milliseconds until this cost would be allowed; 0 when it was. */
  readonly retryAfterMs: number;
}
export interface LimiterSpec {
  /** Stable over reloads: the counter outlives them. Usually `route/plugin-id`. */
  readonly id: string;
  /** `count` never gives anything back: put the period into the key. Forgotten a window after its last use. */
  readonly algorithm: "gcra" | "fixed-window" | "sliding-window" | "count";
  readonly limit: number;
  readonly windowMs: number;
  /** Default: the limit. */
  readonly burst?: number;
  /**
   * Which used-up keys make room when far more are in use than can be remembered. Default `newest`: who is refused stays
   * refused. `oldest`: for what is soon of no use, such as the numbers of messages.
   */
  readonly forgets?: "newest" | "oldest";
}

/** What a plugin gets from weft at setup. */
export interface Host {
  readonly mode: Mode;
  /** Name of the route this instance is set up for; null unless the plugin is `perRoute`, and for requests that match no route. */
  readonly route: string | null;
  /** The instance's id. */
  readonly id: string;
  readonly log: Log;
  header(name: string): FieldName;
  /** A Prometheus counter `weft_<name>_total`; label names are fixed here. */
  counter(name: string, labels?: readonly string[]): Counter;
  local<V>(name: string, options: { max: number; ttlMs?: number }): LocalCache<V>;
  limiter(spec: LimiterSpec): SharedLimiter;
  gate(spec: GateSpec): SharedGate;
  /** The same for all plugins of the process. */
  generations(): SharedGenerations;
  /** Shows a refused caller in `GET /limits` and `weft limits top`. Never waits. */
  refused(refusal: Refusal): void;
  /** Monotonic milliseconds. */
  now(): number;
  /** Wall clock, milliseconds since 1970: for certificates and tokens only. */
  wallNow(): number;
  /** 0 <= x < 1 */
  random(): number;
  /** Runs until the instance closes; never overlaps itself. */
  every(intervalMs: number, run: () => void | Promise<void>): void;
  readonly consumers: Consumers;
  readonly plans: Readonly<Record<string, Plan>>;
  /** A URL; the addresses of a cluster's nodes (URLs); null: none is configured. */
  readonly stores: { readonly redis: string | readonly string[] | null };
  /** Folder of the configuration file. */
  readonly baseDir: string;
  /** Writes a line (ending in a newline) to where access lines go; never waits. */
  print(line: string): void;
  /** Sets the gauge `weft_store_up{store}`. */
  storeUp(store: string, up: boolean): void;
}

export interface Consumers {
  byName(name: string): Consumer | undefined;
  /** Looks up the sha256 of a presented key. */
  byKey(key: string): Consumer | undefined;
  /** All of them with what is stored of their keys: hashes, public keys, secrets for signatures. */
  readonly entries: readonly (Consumer & { readonly keys: readonly string[] })[];
}

export interface PluginDefinition<Config = unknown> {
  readonly name: string;
  readonly stage: Stage;
  /** Default: `['gateway']`. Attaching it elsewhere is a configuration error. */
  readonly modes?: readonly Mode[];
  /** `http`: on routes and on the global list; `tcp`: on the lists of `tcp`, `tls` and `auto` listeners. Default: `['http']`. */
  readonly protocols?: readonly ("http" | "tcp")[];
  /** For the `peek` hook of `tcp`. */
  readonly peek?: PeekMode;
  /** Names of plugins of the same stage that must run after this one, when present. */
  readonly before?: readonly string[];
  readonly after?: readonly string[];
  readonly apiVersion?: 1;
  readonly config?: StandardSchema<Config>;
  readonly provides?: readonly Slot<unknown>[];
  readonly requires?: readonly Slot<unknown>[];
  readonly body?: {
    readonly request?: BodyMode<RequestHead>;
    readonly response?: BodyMode<ResponseHead>;
  };
  /** What a throw means: `closed` answers 500, `open` goes on without the plugin. Default `closed`. */
  readonly onError?: "closed" | "open";
  /** One instance per route, with `host.route` set. Default false: routes with equal options share one, and `host.route` is null. */
  readonly perRoute?: boolean;
  /** For promises of `request` and `response`. Milliseconds or a duration; default 5 s. */
  readonly timeout?: number | string;
  readonly setup: (config: Config, host: Host) => Hooks | Promise<Hooks>;
}

/** A definition whatever its options are: what weft keeps. */
export interface AnyPlugin extends Omit<PluginDefinition<never>, "config"> {
  readonly config?: StandardSchema;
}

/** Declares a plugin; the default export of a plugin file. */
export function definePlugin<Config = undefined>(
  definition: PluginDefinition<Config>,
): PluginDefinition<Config> {
  return definition;
}
