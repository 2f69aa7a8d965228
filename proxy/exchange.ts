/** One request and its response, and what a worker gives to everything that serves them. */

import { Timed, type Wheel } from "./clock.ts";
import type { RequestHead, ResponseHead } from "./http/head.ts";
import type { Downstream, RequestSink } from "./http/stream.ts";
import type { ServiceMetrics } from "./observe/request-metrics.ts";
import type { AccessLog } from "./observe/access-log.ts";
import type { BodyTransform } from "./pipeline/body.ts";
import type { Chain } from "./pipeline/chain.ts";
import type {
  Client,
  Consumer,
  Ctx,
  DoneInfo,
  Fields,
  Log,
  Mode,
  OtherAnswer,
  Peer,
  Slot,
} from "./pipeline/plugin.ts";
import type { Service } from "./service/service.ts";
import type { Plane, Policy, Route, Snapshot } from "./snapshot.ts";
import type { Transport } from "./listen/transport.ts";
import type { ErrorCode, ProxyError } from "./errors.ts";
import type { DialTarget } from "./upstream/connect.ts";

/** What the pipeline needs of an exchange besides its {@link Ctx}. */
export interface PipelineExchange extends Ctx {
  readonly req: RequestHead;
  /** The head that will be sent; null before there is one. */
  res: ResponseHead | null;
  /** Position of the last plugin that was reached on the way in: later ones see neither response nor done. -1: none. */
  reached: number;
  /** Response hooks still to run stand below this position; a reply made by one moves it. Start with 0x7fffffff. */
  outward: number;
  /** Response bodies pass the plugins below this position: one whose body hook ended an answer is not asked about its successor. Start with 0x7fffffff. */
  bodyBelow: number;
  /** Per plugin position: 0 not asked yet, 1 `when` holds, 2 it does not. Null until a chain has a `when`. */
  whenCache: Uint8Array | null;
}

/** Limits on what a stranger controls; per listener. */
export interface ServeLimits {
  readonly headerBytes: number;
  readonly headerCount: number;
  readonly headerTimeoutMs: number;
  readonly idleTimeoutMs: number;
}

/** What a side of the proxy does with what a caller claims about itself (edge: distrust; mesh: by verified peer). */
export interface HeaderTrust {
  /** Per {@link import('./http/fields.ts').Kind}: 1 = removed before the request goes upstream. */
  readonly drop: Uint8Array;
  /** Drop names with an underscore (edge). */
  readonly dropUnderscore: boolean;
  /** Keep a caller's request id and deadline headers. */
  readonly honourControl: (peer: Peer | null) => boolean;
  /** Address of the caller, after trusted hops. */
  clientAddress(req: RequestHead, socketAddress: string): string;
  /** Lines for the upstream head: x-forwarded-*, forwarded, x-weft-peer; each ends with CRLF. */
  lines(req: RequestHead, conn: ConnectionInfo): string;
}

/** A connection that HTTP is served on. */
export interface ConnectionInfo {
  readonly client: Client;
  readonly peer: Peer | null;
  readonly listener: string;
  readonly secure: boolean;
  /** True when the certificate shown on this connection does not cover the host: 421. */
  misdirected(host: string): boolean;
  /** What the caller connected to: of the socket, or of a PROXY header. Absent or null: not known. */
  readonly local?: SocketPlace | null;
}

/** One end of a TCP connection. */
export interface SocketPlace {
  readonly address: string;
  readonly port: number;
}

/** How a connection is opened. */
export interface DialOptions {
  /** To a connected endpoint, TLS included. */
  readonly timeoutMs: number;
  /** Written before everything else, TLS included: a PROXY header. Default: nothing. */
  readonly preface?: Uint8Array | null;
}

/** Opens connections to endpoints; `upstream/connect.ts` is the real one. */
export type Dial = (
  target: DialTarget,
  options: DialOptions,
  done: (error: ProxyError | null, transport: Transport | null) => void,
) => { cancel(): void };

/** One per worker and plane: everything that serving needs and that outlives a connection. */
export interface ServeEnv {
  readonly mode: Mode;
  readonly wheel: Wheel;
  readonly limits: ServeLimits;
  readonly trust: HeaderTrust;
  readonly log: Log;
  readonly accessLog: AccessLog | null;
  readonly metrics: ServiceMetrics;
  readonly dial: Dial;
  /** The snapshot in effect; an exchange asks once. */
  snapshot(): Snapshot;
  plane(snapshot: Snapshot): Plane;
  /** Monotonic milliseconds. */
  now(): number;
  random(): number;
  /** True once draining: answers carry `Connection: close`. */
  isDraining(): boolean;
  /** What happens to exchanges: `flow` of handle.ts. */
  readonly flow: Flow;
  /** 32 hex digits, never all zero: request id and trace id in one. */
  newId(): string;
}

/** What happens to an exchange, from outside of it. */
export interface Flow {
  begin(env: ServeEnv, downstream: Downstream, conn: ConnectionInfo, req: RequestHead): void;
  /** Answers what never became a request. */
  refuse(
    env: ServeEnv,
    downstream: Downstream,
    conn: ConnectionInfo,
    req: RequestHead,
    error: ProxyError,
  ): void;
  /** See `Ctx.again`. */
  again(
    x: Exchange,
    change: (headers: Fields) => void,
    limitBytes: number,
  ): Promise<OtherAnswer | null>;
  requestData(x: Exchange, chunk: Buffer): void;
  requestEnd(x: Exchange, trailers: string): void;
  requestError(x: Exchange, error: ProxyError): void;
  callerGone(x: Exchange, error: Error | null): void;
  callerReady(x: Exchange): void;
  turnEnd(x: Exchange): void;
  /** A time limit may have been reached. */
  expire(x: Exchange, nowMs: number): void;
}

/** How far an exchange has come. It only ever moves down this list. */
type Stage = "request" | "waiting" | "responding" | "ended";

const NO_REPLY_YET = 0x7fffffff;

/** One request and its response: the state that its whole life shares. Plugins see it as `ctx`. */
export class Exchange extends Timed implements PipelineExchange, RequestSink {
  readonly env: ServeEnv;
  /** The caller, or what translates for it. */
  downstream: Downstream;
  readonly conn: ConnectionInfo;
  readonly req: RequestHead;
  readonly snapshot: Snapshot;
  readonly plane: Plane;
  /** Of the snapshot's configuration. */
  readonly trust: HeaderTrust;
  readonly startMs: number;
  res: ResponseHead | null = null;
  reached = -1;
  outward = NO_REPLY_YET;
  bodyBelow = NO_REPLY_YET;
  whenCache: Uint8Array | null = null;
  id: string;
  /** The id that weft gave it, whatever {@link id} became. */
  readonly ownId: string;
  consumer: Consumer | null = null;
  deadlineMs = 0;
  /** End of a gRPC call, bodies included, when a trusted caller has set one (`grpc-timeout`); 0: none. Monotonic ms. */
  callDeadlineMs = 0;
  /** From the end of the request to the head of the answer: of the policy, or less when a trusted caller says so. */
  timeoutMs = 0;

  route: Route | null = null;
  /** The chain that this exchange runs: the plane's until a route is known, then the route's. */
  chain: Chain | null;
  policy: Policy | null = null;
  service: Service | null = null;
  matchedPrefix = "";
  /** Set while the request is on its way to a service. */
  forward: Forwarding | null = null;
  requestBody: BodyTransform | null = null;
  responseBody: BodyTransform | null = null;

  stage: Stage = "request";
  /** An upgrade that waits for the end of the turn, or the tunnel that it became. */
  tunnel: Tunnel | null = null;
  /** Body of an answer of ours that waits for its head to pass the hooks. */
  ownBody: Buffer | null = null;
  /** The answer's head waits for a promise, or in a body transform. */
  answerHeld = false;
  /** Bytes of an answer whose head is held. */
  heldAnswer: Buffer[] | null = null;
  /** Trailers and end of an answer that arrived while its head was held. */
  answerEnded: string | null = null;
  /** The whole request has arrived. */
  requestDone: boolean;
  /** Bytes that arrived before anybody wanted them. */
  early: Buffer[] | null = null;
  earlyTrailers = "";
  lastByteMs: number;
  requestBytes = 0;
  responseBytes = 0;
  status = 0;
  code: ErrorCode | null = null;
  attempts = 0;
  endpoint: string | null = null;
  /** The plain sentence of the error that ended it, for the access log. */
  detail = "";

  private clientView: Client | null = null;
  /** Slot, value, slot, value: there are too few for a `Map`. */
  private slots: unknown[] | null = null;
  private controller: AbortController | null = null;

  constructor(env: ServeEnv, downstream: Downstream, conn: ConnectionInfo, req: RequestHead) {
    super();
    this.env = env;
    this.downstream = downstream;
    this.conn = conn;
    this.req = req;
    this.snapshot = env.snapshot();
    this.plane = env.plane(this.snapshot);
    this.trust = env.trust;
    this.chain = this.plane.unrouted;
    this.startMs = env.now();
    this.lastByteMs = this.startMs;
    this.requestDone = req.framing === "none" || req.contentLength === 0;
    this.ownId = env.newId();
    this.id = this.ownId;
    this.snapshot.use.enter();
  }

  // === impl RouteQuery and ChangedRequest: what routing looks at ===

  get method(): string {
    return this.req.method;
  }

  get host(): string {
    return this.req.host;
  }

  get path(): string {
    return this.req.path;
  }

  get query(): string {
    return this.req.query;
  }

  header(lowerName: string): string | undefined {
    return this.req.headers.get(lowerName);
  }

  // === impl Ctx ===

  get mode(): Mode {
    return this.env.mode;
  }

  get routeName(): string {
    return this.route?.name ?? "";
  }

  get serviceName(): string | null {
    return this.service?.name ?? null;
  }

  get client(): Client {
    return (this.clientView ??= {
      ...this.conn.client,
      address: this.trust.clientAddress(this.req, this.conn.client.address),
    });
  }

  get peer(): Peer | null {
    return this.conn.peer;
  }

  get log(): Log {
    return this.env.log;
  }

  get signal(): AbortSignal {
    this.controller ??= new AbortController();
    return this.controller.signal;
  }

  get<T>(slot: Slot<T>): T | undefined {
    const { slots } = this;
    for (let i = 0; slots !== null && i < slots.length; i += 2)
      if (slots[i] === slot) return slots[i + 1] as T;
    return undefined;
  }

  set<T>(slot: Slot<T>, value: T): void {
    const { slots } = this;
    if (slots === null) {
      this.slots = [slot, value];
      return;
    }
    let at = 0;
    while (at < slots.length && slots[at] !== slot) at += 2;
    slots[at] = slot;
    slots[at + 1] = value;
  }

  again(change: (headers: Fields) => void, limitBytes: number): Promise<OtherAnswer | null> {
    return this.env.flow.again(this, change, limitBytes);
  }

  pickService(name: string): void {
    const service = this.snapshot.services.get(name);
    if (service === undefined) throw new Error(`no service named ${name}`);
    this.service = service;
  }

  /** True when the caller's deadline and request id may be believed. */
  get isTrusted(): boolean {
    return this.trust.honourControl(this.conn.peer);
  }

  /** Tells what waits for this exchange that nobody will read the answer. */
  cancelSignal(): void {
    this.controller?.abort();
  }

  override onDue(nowMs: number): void {
    this.env.flow.expire(this, nowMs);
  }

  // === impl RequestSink ===

  onRequestData(chunk: Buffer): void {
    this.env.flow.requestData(this, chunk);
  }

  onRequestEnd(trailers: string): void {
    this.env.flow.requestEnd(this, trailers);
  }

  onRequestError(error: ProxyError): void {
    this.env.flow.requestError(this, error);
  }

  onCallerGone(error: Error | null): void {
    this.env.flow.callerGone(this, error);
  }

  onCallerReady(): void {
    this.env.flow.callerReady(this);
  }

  onTurnEnd(): void {
    this.env.flow.turnEnd(this);
  }
}

/** The part of `tunnel/upgrade.ts` and `tunnel/connect.ts` that an exchange holds on to. */
export interface Tunnel {
  /** The turn's bytes are kept: the connection can be taken over. */
  start(): void;
  /** True when a byte has passed since this was asked last. */
  takeMoved(): boolean;
  /** An answer is given in its place: the caller is left alone. */
  abandon(): void;
  /** Cuts both sides and finishes the exchange. */
  destroy(how: DoneInfo["end"]): void;
}

/** The part of `upstream/forward.ts` that an exchange holds on to. */
export interface Forwarding {
  readonly endpointAddress: string | null;
  sendData(chunk: Buffer): void;
  sendEnd(trailers: string): void;
  flush(): void;
  pauseAnswer(): void;
  resumeAnswer(): void;
  /** Time has run out in the middle of a try: that counts against its endpoint. */
  blame(): void;
  cancel(): void;
}
