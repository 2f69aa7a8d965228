/** Connections to one endpoint over HTTP/2: many requests on each, another one when all are full. */

import type { TLSSocket } from "node:tls";
import { ProxyError } from "../errors.ts";
import type { UpstreamStream } from "../http/stream.ts";
import { ClientStream } from "../http2/client-stream.ts";
import { ClientSession, type SessionOwner } from "../http2/client.ts";
import { errorName } from "../http2/frames.ts";
import type { Transport } from "../listen/transport.ts";
import type { DialTarget } from "./connect.ts";
import { type Connected, IDLE_MS, Pool, type PoolEnv, type UpstreamPool } from "./pool.ts";

/** Requests that one connection carries before a second is opened beside it: more only queue behind each other. */
const SPREAD = 100;

/** What an endpoint speaks, once it has told. */
type Learned = "http1" | "http2" | null;

/** A stream, or why there is none; both null: not over HTTP/2. */
export type TunnelOpened = (error: ProxyError | null, stream: ClientStream | null) => void;

/** A request that waits for a connection. */
interface Waiting {
  readonly target: DialTarget;
  readonly timeoutMs: number;
  readonly done: Connected;
}

/** For services with `protocol: http2`, and `auto` where the endpoint turns out to speak it. */
export class Http2Pool implements UpstreamPool, SessionOwner {
  private readonly env: PoolEnv;
  private readonly address: string;
  private readonly isAuto: boolean;
  private readonly http1: Pool;
  /** Null: it has not told yet. */
  learned: Learned;
  private sessions: ClientSession[] = [];
  private waiting: Waiting[] = [];
  private dialling: { cancel(): void } | null = null;
  /** A connection whose endpoint has not said yet that it speaks HTTP/2. */
  private untold: ClientSession | null = null;
  private closed = false;

  constructor(env: PoolEnv, address: string, protocol: "http2" | "auto") {
    this.env = env;
    this.address = address;
    this.isAuto = protocol === "auto";
    this.learned = this.isAuto ? null : "http2";
    this.http1 = new Pool(env, address);
  }

  take(): UpstreamStream | null {
    if (this.learned === "http1") return this.http1.take();
    let best: ClientSession | null = null;
    for (const session of this.sessions)
      if (session.hasRoom && (best === null || session.active < best.active)) best = session;
    if (best === null || (best.active >= SPREAD && this.dialling === null)) return null;
    return best.open();
  }

  connect(target: DialTarget, timeoutMs: number, done: Connected): { cancel(): void } {
    if (this.learned === "http1") return this.http1.connect(target, timeoutMs, done);
    const one: Waiting = { target, timeoutMs, done };
    this.waiting.push(one);
    if (this.dialling === null && this.untold === null) this.dial(one);
    return {
      cancel: () => {
        this.waiting = this.waiting.filter((other) => other !== one);
        if (this.waiting.length > 0) return;
        this.dialling?.cancel();
        this.dialling = null;
      },
    };
  }

  /**
   * A stream for an extended CONNECT (RFC 8441).
   * @param done a stream, or an error; null of both: the endpoint speaks HTTP/1.1, or does not take it
   */
  openTunnel(target: DialTarget, timeoutMs: number, done: TunnelOpened): { cancel(): void } {
    let taken: UpstreamStream | null = null;
    const opened: Connected = (error, stream) => {
      if (error !== null) return done(error, null);
      if (!(stream instanceof ClientStream)) {
        stream!.cancel();
        return done(null, null);
      }
      taken = stream;
      stream.whetherConnects((failure, connects) => {
        taken = null;
        if (!connects) stream.cancel();
        done(failure, connects ? stream : null);
      });
    };
    let connecting: { cancel(): void } | null = null;
    const free = this.learned === "http1" ? null : this.take();
    if (this.learned === "http1") done(null, null);
    else if (free !== null) opened(null, free);
    else connecting = this.connect(target, timeoutMs, opened);
    return {
      cancel: () => {
        connecting?.cancel();
        taken?.cancel();
      },
    };
  }

  close(): void {
    this.closed = true;
    this.http1.close();
    for (const session of this.sessions) session.close();
  }

  private dial({ target, timeoutMs }: Waiting): void {
    this.dialling = this.env.dial(target, { timeoutMs }, (error, transport) => {
      this.dialling = null;
      if (transport === null) return this.settle(error!);
      this.connected(transport, target, timeoutMs);
    });
  }

  private connected(transport: Transport, target: DialTarget, timeoutMs: number): void {
    const alpn = target.tls === null ? null : (transport.socket as TLSSocket).alpnProtocol;
    if (target.tls !== null && alpn !== "h2") {
      if (!this.isAuto) {
        transport.destroy();
        const error = `connect ${this.address}: it does not offer HTTP/2 (ALPN h2), which this service asks for`;
        return this.settle(new ProxyError("upstream-tls", error, { retryable: true }));
      }
      this.learned = "http1";
      this.settle(null, this.http1.adopt(transport));
      return this.dialAll();
    }
    this.env.countConnection(1);
    const scheme = target.tls === null ? "http" : "https";
    const session = new ClientSession(transport, this.address, scheme, this, this.env.wheel);
    this.sessions.push(session);
    // over plain TCP an endpoint has to show that it took the preface, before anything is lost on it
    if (this.learned === "http2" || alpn === "h2") this.serve(session);
    else {
      this.untold = session;
      this.env.wheel.arm(session, this.env.now() + timeoutMs);
    }
  }

  onSettled(session: ClientSession): void {
    this.learned ??= "http2";
    if (this.untold !== session) return;
    this.untold = null;
    this.serve(session);
  }

  /** Gives the connection to those who wait. */
  private serve(session: ClientSession): void {
    this.learned ??= "http2";
    while (this.waiting.length > 0 && session.hasRoom)
      this.waiting.shift()!.done(null, session.open());
    if (this.closed) return session.close();
    if (this.waiting.length > 0 && this.dialling === null) this.dial(this.waiting[0]!);
    this.idle(session);
  }

  /** Ends the wait of one with a connection, or of all with an error. */
  private settle(error: ProxyError | null, stream: UpstreamStream | null = null): void {
    if (error === null) return void this.waiting.shift()?.done(null, stream);
    for (const one of this.waiting.splice(0)) one.done(error, null);
  }

  /** Everybody who still waits gets an HTTP/1.1 connection of their own. */
  private dialAll(): void {
    for (const one of this.waiting.splice(0))
      this.http1.connect(one.target, one.timeoutMs, one.done);
  }

  onRoom(session: ClientSession): void {
    if (this.waiting.length > 0 && session.hasRoom)
      this.waiting.shift()!.done(null, session.open());
    this.idle(session);
  }

  private idle(session: ClientSession): void {
    if (session.active > 0) return;
    session.idleSinceMs = this.env.now();
    if (this.closed) session.close();
    else if (session.slot === -1) this.env.wheel.arm(session, session.idleSinceMs + IDLE_MS);
  }

  onClosing(session: ClientSession): void {
    this.sessions = this.sessions.filter((other) => other !== session);
    if (this.untold !== session) return;
    // it hung up on the preface, or said something else: it speaks HTTP/1.1
    this.untold = null;
    this.learned = "http1";
    this.dialAll();
  }

  onError(session: ClientSession, code: number, streamId: number, why: string): void {
    // who speaks HTTP/1.1 and was asked by the preface has done nothing wrong
    if (session === this.untold) return;
    const where = streamId === 0 ? "connection closed" : `stream ${streamId} reset`;
    const error = errorName(code);
    this.env.noteProtocolError(error, `http2: ${this.address}: ${where}: ${error}: ${why}`);
  }

  onGone(session: ClientSession): void {
    this.env.countConnection(-1);
    this.onClosing(session);
  }

  onDue(session: ClientSession, nowMs: number): void {
    // it swallowed the preface and says nothing: onClosing makes HTTP/1.1 of it
    if (session === this.untold) return session.close();
    if (session.active === 0 && nowMs - session.idleSinceMs >= IDLE_MS) return session.close();
    const since = session.active === 0 ? session.idleSinceMs : nowMs;
    this.env.wheel.arm(session, since + IDLE_MS);
  }
}
