/** TCP listeners: bytes of a connection to an endpoint and back, balanced, with the caller's half-close kept. */

import { Timed, type Wheel } from "../clock.ts";
import type { ProxyError } from "../errors.ts";
import type { ConnectionInfo, Dial } from "../exchange.ts";
import { readClientHello } from "../listen/client-hello.ts";
import type { Served } from "../listen/listener.ts";
import type { Transport, TransportHandler } from "../listen/transport.ts";
import type { AccessLog } from "../observe/access-log.ts";
import type { ServiceMetrics } from "../observe/request-metrics.ts";
import type { Log } from "../pipeline/plugin.ts";
import type { Endpoint } from "../service/endpoint.ts";
import type { Choice, StreamTarget } from "../snapshot.ts";
import { TunnelRecord } from "./record.ts";

/** What a worker gives to its TCP connections. */
export interface RelayEnv {
  readonly wheel: Wheel;
  readonly log: Log;
  readonly accessLog: AccessLog | null;
  readonly metrics: ServiceMetrics;
  readonly dial: Dial;
  /** Where connections of this listener go, in the snapshot in effect. */
  target(): StreamTarget | null;
  now(): number;
  newId(): string;
}

/** A ClientHello must have come by then. */
const HELLO_MS = 10_000;

/** Serves one connection of a `tcp` or `tls` (passthrough) listener. */
export function serveRelay(transport: Transport, conn: ConnectionInfo, env: RelayEnv): Served {
  return new Relay(transport, conn, env);
}

class Relay extends Timed implements Served {
  private readonly caller: Transport;
  private readonly conn: ConnectionInfo;
  private readonly env: RelayEnv;
  private readonly startMs: number;
  private choice: Choice | null = null;
  private endpoint: Endpoint | null = null;
  private upstream: Transport | null = null;
  private dialling: { cancel(): void } | null = null;
  private readonly tried = new Set<Endpoint>();
  private attempts = 0;
  /** Bytes of the caller that wait for the connection. */
  private held: Buffer = Buffer.alloc(0);
  private callerEnded = false;
  private isOver = false;
  private lastByteMs: number;
  private bytesIn = 0;
  private bytesOut = 0;
  private detail = "";

  constructor(transport: Transport, conn: ConnectionInfo, env: RelayEnv) {
    super();
    this.caller = transport;
    this.conn = conn;
    this.env = env;
    this.startMs = this.lastByteMs = env.now();
    env.metrics.connection("downstream", 1);
    transport.handler = this.callerHandler;
    const target = env.target();
    if (target === null) this.end("the listener is gone from the configuration");
    else if (target.byServerName) {
      env.wheel.arm(this, this.startMs + HELLO_MS);
      transport.resume();
    } else this.begin(target.choose(null), "");
  }

  /** A stream has no end of its own: it goes on until it ends, or is cut. */
  drain(): void {}

  destroy(): void {
    this.end("cut at the end of the drain");
  }

  override onDue(nowMs: number): void {
    if (this.choice === null) return this.end(`no ClientHello within ${HELLO_MS} ms`);
    const { idleTimeoutMs } = this.choice.policy;
    const dueMs = this.lastByteMs + idleTimeoutMs;
    if (nowMs >= dueMs) this.end(`no byte either way for ${idleTimeoutMs} ms (idleTimeout)`);
    else this.env.wheel.arm(this, dueMs);
  }

  private readonly callerHandler: TransportHandler = {
    onData: (chunk) => this.fromCaller(chunk),
    onEnd: () => {
      this.callerEnded = true;
      if (this.choice === null) this.end("the caller left before it said where to");
      else this.upstream?.end();
    },
    onClose: (error) => this.end(error === null ? "" : `the caller: ${error.message}`),
    onDrain: () => this.upstream?.resume(),
  };

  private fromCaller(chunk: Buffer): void {
    this.lastByteMs = this.env.now();
    this.bytesIn += chunk.length;
    const { upstream } = this;
    if (upstream !== null) {
      if (!upstream.writeParts("", chunk, "")) this.caller.pause();
      return;
    }
    this.held = Buffer.concat([this.held, chunk]);
    if (this.choice !== null) return this.caller.pause();
    const hello = readClientHello(this.held);
    if (hello.kind === "more") return;
    const name = hello.serverName;
    const target = this.env.target();
    this.caller.pause();
    this.begin(
      target?.choose(name) ?? null,
      name === null ? "without a server name" : `for ${name}`,
    );
  }

  private begin(choice: Choice | null, asked: string): void {
    if (choice === null) return this.end(`no service takes a connection ${asked}`);
    this.choice = choice;
    const { idleTimeoutMs } = choice.policy;
    if (idleTimeoutMs > 0) this.env.wheel.arm(this, this.lastByteMs + idleTimeoutMs);
    else this.env.wheel.disarm(this);
    choice.service.budget.request(this.env.now());
    this.connect(choice);
  }

  private connect(choice: Choice): void {
    const { service, policy } = choice;
    const nowMs = this.env.now();
    const endpoint = service.pick(this.tried, nowMs);
    if (typeof endpoint === "string") return this.end(`service ${service.name}: ${endpoint}`);
    this.attempts++;
    this.endpoint = endpoint;
    endpoint.active++;
    this.dialling = this.env.dial(
      endpoint.target,
      { timeoutMs: policy.connectTimeoutMs },
      (error, upstream) => {
        this.dialling = null;
        if (this.isOver) return upstream?.destroy();
        const tookMs = this.env.now() - nowMs;
        service.report(endpoint, upstream === null ? "failure" : "success", tookMs, this.env.now());
        if (upstream === null) this.connectFailed(choice, endpoint, error!);
        else this.connected(endpoint, upstream);
      },
    );
  }

  /** Nothing has been sent: another endpoint may have the connection. */
  private connectFailed(choice: Choice, endpoint: Endpoint, error: ProxyError): void {
    const { service, policy } = choice;
    const { metrics } = this.env;
    endpoint.active--;
    this.endpoint = null;
    this.tried.add(endpoint);
    metrics.attempt(service.name, endpoint.address, error.code);
    const more =
      this.attempts <= policy.retry.attempts && this.tried.size < service.endpoints.length;
    if (!more || !service.budget.takeRetry(policy.retry, this.env.now()))
      return this.end(error.message);
    metrics.retry(service.name, "connect-failure");
    this.connect(choice);
  }

  private connected(endpoint: Endpoint, upstream: Transport): void {
    const { env, caller } = this;
    this.upstream = upstream;
    env.metrics.attempt(endpoint.service, endpoint.address, "connected");
    env.metrics.connection("upstream", 1);
    upstream.handler = {
      onData: (chunk) => {
        this.lastByteMs = env.now();
        this.bytesOut += chunk.length;
        if (!caller.writeParts("", chunk, "")) upstream.pause();
      },
      onEnd: () => caller.end(),
      onClose: (error) => this.end(error === null ? "" : `${endpoint.address}: ${error.message}`),
      onDrain: () => caller.resume(),
    };
    if (this.held.length > 0) upstream.write(this.held);
    this.held = Buffer.alloc(0);
    if (this.callerEnded) upstream.end();
    upstream.resume();
    caller.resume();
  }

  /** Once: closes both sides, counts, logs. A cut is a reset, so that nobody takes it for the end of the data. */
  private end(why: string): void {
    if (this.isOver) return;
    this.isOver = true;
    this.detail = why;
    const { env, upstream, endpoint, choice } = this;
    env.wheel.disarm(this);
    this.dialling?.cancel();
    if (endpoint !== null) endpoint.active--;
    if (upstream !== null) env.metrics.connection("upstream", -1);
    env.metrics.connection("downstream", -1);
    for (const side of [this.caller, upstream]) {
      if (side === null || side.isClosed) continue;
      if (why === "") side.destroy();
      else side.reset();
    }
    const service = choice?.service.name ?? "";
    env.metrics.bytes(this.conn.listener, "", service, this.bytesIn, this.bytesOut);
    if (env.accessLog !== null) this.writeLine(env.accessLog);
    if (upstream === null && why !== "") env.log.warn(`listener ${this.conn.listener}: ${why}`);
  }

  private writeLine(accessLog: AccessLog): void {
    const { env, conn, endpoint } = this;
    const record = new TunnelRecord(conn, env.newId(), this.choice?.service.name ?? null, env.log);
    accessLog.log(record, {
      status: 0,
      code: null,
      durationMs: env.now() - this.startMs,
      requestBytes: this.bytesIn,
      responseBytes: this.bytesOut,
      attempts: this.attempts,
      endpoint: endpoint?.address ?? null,
      end: this.detail === "" ? "complete" : "error",
      detail: this.detail,
    });
  }
}
