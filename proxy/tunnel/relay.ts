/** Connections that carry no HTTP: from their first byte, which may have to say where they go, to an endpoint and back. */

import { Timed, type Wheel } from "../clock.ts";
import type { ErrorCode, ProxyError } from "../errors.ts";
import type { ConnectionInfo, Dial } from "../exchange.ts";
import { readClientHello } from "../listen/client-hello.ts";
import { detect } from "../listen/detect.ts";
import { proxyHeader } from "../listen/proxy-header.ts";
import type { Secure, Served } from "../listen/listener.ts";
import type { Transport, TransportHandler } from "../listen/transport.ts";
import type { AccessLog } from "../observe/access-log.ts";
import type { ServiceMetrics } from "../observe/request-metrics.ts";
import { Rejection, type Log, type TcpDone } from "../pipeline/plugin.ts";
import { runConnection } from "../pipeline/run.ts";
import { TcpRun } from "../pipeline/tcp-chain.ts";
import type { Endpoint } from "../service/endpoint.ts";
import type { Choice, Snapshot, StreamTarget } from "../snapshot.ts";
import type { DialTarget } from "../upstream/connect.ts";
import { EarlyCall, nobody, type EarlyCallOwner } from "./early-call.ts";
import type { Habit } from "./habit.ts";
import { Reach, type ReachOwner } from "./reach.ts";
import { TunnelLine, TunnelRecord } from "./record.ts";
import { Splice, type Side } from "./splice.ts";

/** What a worker gives to the connections of a listener. */
export interface RelayEnv {
  readonly wheel: Wheel;
  readonly log: Log;
  readonly accessLog: AccessLog | null;
  readonly metrics: ServiceMetrics;
  readonly dial: Dial;
  readonly habit: Habit;
  /** The snapshot in effect; a connection asks once. */
  snapshot(): Snapshot;
  /** A connection that turned out to carry HTTP. */
  serveHttp(transport: Transport, conn: ConnectionInfo): Served;
  now(): number;
  newId(): string;
}

/** A ClientHello, or what else says where a connection goes, must have come by then. */
const FIRST_BYTES_MS = 10_000;
/**
 * How long the first bytes are waited for before the service is called all the same; a caller who has sent a part of a
 * request line by then is taken for one of HTTP. With the turn of the wheel it stays below 200 ms.
 */
const DETECT_MS = 180;

const NOTHING = Buffer.alloc(0);

/** Serves one connection of a `tcp`, `tls` or `auto` listener. @param secure see `ListenerEnv.serve` */
export function serveRelay(
  transport: Transport,
  conn: ConnectionInfo,
  env: RelayEnv,
  secure: Secure | null,
): Served {
  const relay = new Relay(transport, conn, env, secure);
  relay.begin();
  return relay;
}

type End = TcpDone["end"];

/** How far a connection has come: it only ever moves down this list. */
type Stage = "admitting" | "reading" | "reaching" | "relaying" | "handed-over" | "over";

class Relay extends Timed implements Served, ReachOwner, EarlyCallOwner, TransportHandler {
  private stage: Stage = "admitting";
  private caller: Transport;
  private readonly env: RelayEnv;
  private readonly snapshot: Snapshot;
  private readonly target: StreamTarget | null;
  private readonly record: TunnelRecord;
  private readonly run: TcpRun | null;
  private secure: Secure | null;
  private readonly startMs: number;
  private choice: Choice | null = null;
  private reach: Reach | null = null;
  /** Connected while the caller's first bytes are still awaited. */
  private early: EarlyCall | null = null;
  private splice: Splice | null = null;
  /** Who serves it instead. */
  private successor: Served | null = null;
  /** Bytes of the caller that wait for the connection. */
  private held: Buffer = NOTHING;
  private callerEnded = false;
  /** When the caller spoke first; 0: not yet. */
  private spokeMs = 0;
  /** Neither side has spoken: whoever does decides, however long it takes. */
  private isSilent = false;
  private lastMoveMs: number;

  constructor(transport: Transport, conn: ConnectionInfo, env: RelayEnv, secure: Secure | null) {
    super();
    this.caller = transport;
    this.env = env;
    this.secure = secure;
    this.startMs = this.lastMoveMs = env.now();
    this.record = new TunnelRecord(conn, env.newId(), this.startMs, env.log);
    this.snapshot = env.snapshot();
    this.snapshot.use.enter();
    this.target = this.snapshot.streams.get(conn.listener) ?? null;
    const chain = this.target?.chain ?? null;
    this.run = chain === null ? null : new TcpRun(chain, this.record);
  }

  begin(): void {
    const { env, caller, target } = this;
    env.metrics.connection("downstream", 1);
    caller.handler = this;
    if (target === null) return this.cut("the listener is gone from the configuration");
    // of connections that may be HTTP, those hooks are asked by who serves them
    if (target.by !== "first-bytes" && !this.isConnectionWanted()) return;
    if (this.run === null) return this.admitted(target);
    this.run.accept((rejection) => {
      if (this.stage !== "admitting") return;
      if (rejection === null) this.admitted(target);
      else this.rejected(rejection);
    });
  }

  /** A stream has no end of its own: it goes on until it ends, or is cut. */
  drain(): void {
    this.successor?.drain();
  }

  destroy(): void {
    if (this.successor !== null) this.successor.destroy();
    else this.cut("cut at the end of the drain");
  }

  /** Asks the `connection` hooks of the global list. */
  private isConnectionWanted(): boolean {
    const unrouted = this.snapshot.planes.edge?.unrouted ?? null;
    const answer = runConnection(unrouted, this.record.conn);
    if (answer === null) return true;
    this.rejected(new Rejection(answer.detail === "" ? "a connection hook" : answer.detail));
    return false;
  }

  // === where it goes ===

  private admitted(target: StreamTarget): void {
    const peekBytes = target.chain?.peekBytes ?? 0;
    if (target.by === "listener" && peekBytes === 0) return this.goTo(target.to, "");
    this.stage = "reading";
    const { env } = this;
    const waitMs =
      target.by === "first-bytes" && target.to !== null
        ? DETECT_MS
        : target.by === "listener"
          ? target.chain!.peekTimeoutMs
          : FIRST_BYTES_MS;
    env.wheel.arm(this, this.startMs + waitMs);
    if (target.by === "first-bytes" && peekBytes === 0 && env.habit.callsAtOnce) this.callAhead();
    this.caller.resume();
    if (this.callerEnded) this.read(target, "ended");
  }

  /** The service may be the one that speaks first: the connection to it is made while the caller's first bytes are awaited. */
  private callAhead(): void {
    const { to } = this.target!;
    if (to === null || this.reach !== null || this.stage !== "reading") return;
    this.reach = new Reach(to, this.env, this);
    this.reach.start();
  }

  /**
   * Looks at what the caller has sent so far.
   * @param why more came, no more will come, or the time for it is over
   */
  private read(target: StreamTarget, why: "more" | "ended" | "late"): void {
    const { held } = this;
    const isFinal = why !== "more";
    switch (target.by) {
      case "listener":
        if (isFinal || held.length >= target.chain!.peekBytes) this.goTo(target.to, "");
        return;
      case "server-name": {
        const hello = readClientHello(held);
        if (hello.kind === "hello" && held.length > 0)
          return this.goTo(...this.byName(target, hello.serverName));
        if (!isFinal) return;
        if (held.length === 0 && why === "ended") return this.end("complete", null, "");
        return this.cut(
          why === "ended"
            ? "the caller left before it said where to"
            : `no ClientHello within ${FIRST_BYTES_MS} ms`,
        );
      }
      case "first-bytes":
        return this.detect(target, why);
    }
  }

  private byName(target: StreamTarget, serverName: string | null): [Choice | null, string] {
    this.record.named(serverName);
    const asked = serverName === null ? "without a server name" : `for ${serverName}`;
    return [target.named(serverName) ?? target.to, asked];
  }

  private detect(target: StreamTarget, why: "more" | "ended" | "late"): void {
    const { held, env } = this;
    const found = detect(held);
    switch (found) {
      case "tls": {
        if (this.record.conn.secure) return this.goTo(target.to, "for TLS inside TLS");
        const hello = readClientHello(held);
        if (hello.kind === "more") {
          const dueMs = this.spokeMs + FIRST_BYTES_MS;
          if (why === "ended") this.cut("the caller left inside its ClientHello");
          else if (env.now() >= dueMs) this.cut(`no whole ClientHello in ${FIRST_BYTES_MS} ms`);
          else env.wheel.arm(this, dueMs);
          return;
        }
        const [choice, asked] = this.byName(target, hello.serverName);
        const isNamed = target.named(hello.serverName) !== null;
        if (isNamed || this.secure === null) return this.goTo(choice, asked);
        return this.endTls(this.secure, hello.serverName);
      }
      case "http1":
      case "http2":
        return this.handOver();
      case "opaque":
        return this.goTo(target.to, "that is neither HTTP nor TLS");
      case "more":
        if (why === "more") return;
        if (held.length > 0) return this.handOver();
        if (why === "ended") return this.end("complete", null, "");
        if (this.early?.hasSpoken === true) return this.goTo(target.to, "");
        // whoever speaks first now decides
        if (target.to === null) return this.cut(`not a byte within ${FIRST_BYTES_MS} ms`);
        this.isSilent = true;
        this.callAhead();
        if (this.stage === "reading") this.armIdle(target.to);
    }
  }

  /** It speaks HTTP: it is served as on any other listener. The plugins hear of its end all the same. */
  private handOver(): void {
    const { env, caller, held } = this;
    this.stage = "handed-over";
    this.leaveReach();
    env.habit.learn("http");
    env.wheel.disarm(this);
    env.metrics.connection("downstream", -1);
    this.held = NOTHING;
    caller.socket.once("close", () => this.finish("complete", null, ""));
    this.successor = env.serveHttp(caller, this.record.conn);
    if (held.length > 0) caller.handler.onData(held);
    if (this.callerEnded) caller.handler.onEnd();
  }

  /** TLS ends here: what is spoken inside is found out in the same way. */
  private endTls(secure: Secure, serverName: string | null): void {
    const { env, caller } = this;
    this.leaveReach();
    env.wheel.disarm(this);
    const hello = this.held;
    this.held = NOTHING;
    this.secure = null;
    caller.handler = {
      ...nobody,
      onClose: () => this.end("client-aborted", null, "the TLS handshake failed"),
    };
    secure(hello, serverName, (transport, conn) => {
      caller.handler = nobody;
      if (this.stage === "over") return transport.destroy();
      this.caller = transport;
      this.record.conn = conn;
      if (conn.client.tls?.alpn != null) return this.handOver();
      this.spokeMs = 0;
      transport.handler = this;
      env.wheel.arm(this, env.now() + DETECT_MS);
      if (env.habit.callsAtOnce) this.callAhead();
      transport.resume();
    });
  }

  private goTo(choice: Choice | null, asked: string): void {
    const { env, run, target } = this;
    if (choice === null) return this.cut(`no service takes a connection ${asked}`);
    this.caller.pause();
    if (this.reach !== null && this.reach.choice !== choice) this.leaveReach();
    if (target!.by === "first-bytes")
      env.habit.learn(choice !== target!.to ? "http" : this.held.length > 0 ? "caller" : "service");
    this.stage = "reaching";
    this.choice = choice;
    this.record.serviceName = choice.service.name;
    if (target!.by === "first-bytes" && !this.isConnectionWanted()) return;
    if (run !== null) {
      const peekBytes = target!.chain!.peekBytes;
      const rejection = peekBytes === 0 ? null : run.peek(this.held.subarray(0, peekBytes));
      if (rejection !== null) return this.rejected(rejection);
    }
    const { idleTimeoutMs, totalTimeoutMs } = choice.policy;
    if (idleTimeoutMs > 0 || totalTimeoutMs > 0) this.armIdle(choice);
    else env.wheel.disarm(this);
    if (this.early !== null) return this.connected(this.early);
    if (this.reach !== null) return;
    this.reach = new Reach(choice, env, this);
    this.reach.start();
  }

  /** The service was called ahead, and nobody wants it. */
  private leaveReach(): void {
    this.reach?.leave();
    this.reach = null;
    const { early } = this;
    this.early = null;
    if (early === null) return;
    this.env.metrics.connection("upstream", -1);
    early.leave();
  }

  // === impl ReachOwner ===

  targetOf(endpoint: Endpoint): DialTarget {
    return endpoint.target;
  }

  preface(): Uint8Array | null {
    const { record } = this;
    const { spec } = this.reach!.choice.service;
    const version = spec.proxyProtocol ?? null;
    if (version === null) return null;
    const { client, local = null } = record.conn;
    return proxyHeader(version, { client, local, serverName: record.serverName }, record.id);
  }

  attempting({ service, address }: Endpoint, previous: string | null): void {
    const { run, reach } = this;
    if (run === null) return;
    const number = reach!.attempts;
    const rejection = run.attempt({ number, service, endpoint: address, previous });
    if (rejection !== null) this.rejected(rejection);
  }

  reached(error: ProxyError | null, upstream: Transport | null, rest: Buffer): void {
    if (upstream === null) {
      // a caller that is still to speak may want something else; if not, it is tried again
      if (this.stage === "reading") this.reach = null;
      else this.end("error", error!.code, error!.message);
      return;
    }
    this.env.metrics.connection("upstream", 1);
    const call = new EarlyCall(upstream, rest, this);
    if (this.stage !== "reading") return this.connected(call);
    this.early = call;
    call.listen();
  }

  // === impl EarlyCallOwner ===

  serviceSpoke(): void {
    // a caller of HTTP has as long as detection takes to say so
    if (this.stage === "reading" && (this.isSilent || this.env.habit.believesService))
      this.goTo(this.target!.to, "");
  }

  serviceGone(): void {
    this.leaveReach();
  }

  // === bytes both ways ===

  private connected(call: EarlyCall): void {
    const { caller, held, run, target } = this;
    this.early = null;
    this.stage = "relaying";
    const changes = target?.chain?.data != null;
    this.splice = new Splice(caller, call.upstream, {
      change: changes ? (chunk, from) => this.change(run!, chunk, from) : null,
      spliced: (broken, error) => this.spliced(broken, error),
    });
    this.held = NOTHING;
    this.splice.start(held, this.callerEnded);
    call.passOn(this.splice);
  }

  private change(run: TcpRun, chunk: Buffer, from: Side): Uint8Array | null {
    if (this.stage !== "relaying") return null;
    const result = run.data(chunk, from);
    if (!(result instanceof Rejection)) return result;
    this.rejected(result);
    return null;
  }

  private spliced(broken: Side | null, error: Error | null): void {
    if (broken === null) return this.end("complete", null, "");
    const who = broken === "downstream" ? "the caller" : (this.reach?.endpoint?.address ?? "");
    this.end(
      broken === "downstream" ? "client-aborted" : "upstream-aborted",
      null,
      `${who}: ${error?.message ?? "closed"}`,
    );
  }

  override onDue(nowMs: number): void {
    if (this.stage === "reading" && !this.isSilent) return this.read(this.target!, "late");
    const choice = this.choice ?? this.target!.to!;
    const { idleTimeoutMs, totalTimeoutMs } = choice.policy;
    if (this.splice?.takeMoved() === true) this.lastMoveMs = nowMs;
    if (totalTimeoutMs > 0 && nowMs >= this.startMs + totalTimeoutMs)
      return this.cut(`open for ${totalTimeoutMs} ms (totalTimeout)`);
    if (idleTimeoutMs > 0 && nowMs >= this.lastMoveMs + idleTimeoutMs)
      return this.cut(`no byte either way for ${idleTimeoutMs} ms (idleTimeout)`);
    this.armIdle(choice);
  }

  /** Bytes leave a mark and no time: it is looked for often enough for an idle limit to be at most a quarter late. */
  private armIdle({ policy }: Choice): void {
    const { idleTimeoutMs, totalTimeoutMs } = policy;
    const nowMs = this.env.now();
    const idleMs = idleTimeoutMs === 0 ? Infinity : nowMs + Math.max(10, idleTimeoutMs / 4);
    const totalMs = totalTimeoutMs === 0 ? Infinity : this.startMs + totalTimeoutMs;
    const dueMs = Math.min(idleMs, totalMs);
    if (dueMs === Infinity) this.env.wheel.disarm(this);
    else this.env.wheel.arm(this, dueMs);
  }

  // === impl TransportHandler: the caller, until it is spliced ===

  onData(chunk: Buffer): void {
    const { env } = this;
    this.lastMoveMs = env.now();
    if (this.spokeMs === 0) {
      this.spokeMs = this.lastMoveMs;
      this.isSilent = false;
      const isDetecting = this.stage === "reading" && this.target!.by === "first-bytes";
      if (isDetecting) env.wheel.arm(this, this.spokeMs + DETECT_MS);
    }
    this.held = this.held.length === 0 ? Buffer.from(chunk) : Buffer.concat([this.held, chunk]);
    if (this.stage === "reading") this.read(this.target!, "more");
    else this.caller.pause();
  }

  onEnd(): void {
    this.callerEnded = true;
    if (this.stage === "reading") this.read(this.target!, "ended");
  }

  onClose(error: Error | null): void {
    this.end("client-aborted", null, error === null ? "" : `the caller: ${error.message}`);
  }

  onDrain(): void {}

  // === the end ===

  private rejected(rejection: Rejection): void {
    this.env.log.info(`listener ${this.record.listener}: refused: ${rejection.reason}`, {
      listener: this.record.listener,
      client: this.record.client.address,
    });
    this.end("error", "forbidden", rejection.reason);
  }

  private cut(why: string): void {
    this.end("error", null, why);
  }

  /** Once: closes both sides, counts, logs. What is not a whole end is a reset, so that nobody takes it for one. */
  private end(end: End, code: ErrorCode | null, why: string): void {
    if (this.stage === "over" || this.stage === "handed-over") return;
    const { env, caller, splice } = this;
    const isCut = end !== "complete";
    this.stage = "over";
    env.wheel.disarm(this);
    if (splice !== null) {
      if (isCut) splice.reset();
      env.metrics.connection("upstream", -1);
    } else {
      caller.handler = nobody;
      if (!caller.isClosed) {
        if (isCut) caller.reset();
        else caller.destroy();
      }
    }
    env.metrics.connection("downstream", -1);
    if (isCut && splice === null && why !== "")
      env.log.warn(`listener ${this.record.listener}: ${why}`);
    this.finish(end, code, why);
    this.leaveReach();
  }

  private finish(end: End, code: ErrorCode | null, detail: string): void {
    const { env, record, reach, splice } = this;
    const endpoint = reach?.endpoint?.address ?? null;
    const done: TcpDone = {
      durationMs: env.now() - this.startMs,
      requestBytes: splice?.downstream.bytes ?? 0,
      responseBytes: splice?.upstream.bytes ?? 0,
      attempts: reach?.attempts ?? 0,
      endpoint,
      end,
      code,
      detail,
    };
    reach?.leave();
    if (this.stage === "over") {
      const service = record.serviceName ?? "";
      env.metrics.tunnel(record.listener, service, end, done.durationMs);
      env.metrics.bytes(record.listener, "", service, done.requestBytes, done.responseBytes);
      env.accessLog?.log(new TunnelLine(record), { ...done, status: 0 });
    }
    this.run?.done(done);
    this.snapshot.use.leave();
  }
}
