/** Connections to one endpoint over HTTP/1.1: one request each; the newest idle one first, so that the rest can expire. */

import type { Wheel } from "../clock.ts";
import type { ProxyError } from "../errors.ts";
import type { Dial } from "../exchange.ts";
import type { UpstreamStream } from "../http/stream.ts";
import type { DialTarget } from "./connect.ts";
import type { Transport } from "../listen/transport.ts";
import { ClientConnection, type ConnectionOwner } from "../http1/client.ts";

/** Idle connections kept per endpoint and worker; Envoy and Go keep 100 to unlimited. */
const MAX_IDLE = 256;
/** An idle connection is closed after this long; shorter when its endpoint says so. */
export const IDLE_MS = 60_000;
/** Closed this much before the endpoint would close it (node.md, bug 8: the keep-alive race). */
const MARGIN_MS = 1000;

export interface PoolEnv {
  readonly wheel: Wheel;
  readonly dial: Dial;
  now(): number;
  /** +1 when a connection is made, -1 when it is gone. */
  countConnection(delta: number): void;
  /** An endpoint broke HTTP/2: counts the error by its name in RFC 9113 section 7, and logs the reason. */
  noteProtocolError(error: string, why: string): void;
}

/** Takes requests to one endpoint, whatever protocol it speaks. */
export interface UpstreamPool {
  /** Room for a request on an open connection; null: {@link connect}. */
  take(): UpstreamStream | null;
  /** Makes room, with a new connection unless one under way will have it. */
  connect(target: DialTarget, timeoutMs: number, done: Connected): { cancel(): void };
  /** Closes what is idle, and what becomes idle from now on. */
  close(): void;
}

/** Exactly one of both. */
export type Connected = (error: ProxyError | null, stream: UpstreamStream | null) => void;

/** HTTP/1.1 connections to one endpoint. */
export class Pool implements ConnectionOwner, UpstreamPool {
  private readonly env: PoolEnv;
  private readonly address: string;
  private readonly idle: ClientConnection[] = [];
  private closed = false;
  private open = 0;

  constructor(env: PoolEnv, address: string) {
    this.env = env;
    this.address = address;
  }

  /** Connections open now, idle ones included. */
  get size(): number {
    return this.open;
  }

  /** The most recently used idle connection, or null. */
  take(): ClientConnection | null {
    for (;;) {
      const connection = this.idle.pop();
      if (connection === undefined) return null;
      connection.isIdle = false;
      if (connection.isUsable && !this.isExpired(connection)) return connection;
      connection.close();
    }
  }

  connect(target: DialTarget, timeoutMs: number, done: Connected): { cancel(): void } {
    return this.env.dial(target, { timeoutMs }, (error, transport) =>
      done(error, transport === null ? null : this.adopt(transport)),
    );
  }

  /** Takes charge of a new connection, for the request that it was made for. */
  adopt(transport: Transport): ClientConnection {
    this.open++;
    this.env.countConnection(1);
    return new ClientConnection(transport, this.address, this, this.env.wheel);
  }

  close(): void {
    this.closed = true;
    for (const connection of this.idle.splice(0)) connection.close();
  }

  onReusable(connection: ClientConnection): void {
    if (this.closed || this.idle.length >= MAX_IDLE) return connection.close();
    connection.isIdle = true;
    connection.idleSinceMs = this.env.now();
    // armed once and looked at when due: arming at each request would cost more than it saves
    if (connection.slot === -1)
      this.env.wheel.arm(connection, connection.idleSinceMs + this.lifeMs(connection));
    this.idle.push(connection);
  }

  onGone(connection: ClientConnection): void {
    this.open--;
    this.env.countConnection(-1);
    if (!connection.isIdle) return;
    const at = this.idle.lastIndexOf(connection);
    if (at >= 0) this.idle.splice(at, 1);
  }

  onDue(connection: ClientConnection, nowMs: number): void {
    if (connection.isIdle && this.isExpired(connection)) return connection.close();
    const since = connection.isIdle ? connection.idleSinceMs : nowMs;
    this.env.wheel.arm(connection, since + this.lifeMs(connection));
  }

  private isExpired(connection: ClientConnection): boolean {
    return this.env.now() - connection.idleSinceMs >= this.lifeMs(connection);
  }

  private lifeMs(connection: ClientConnection): number {
    if (connection.keepAliveMs === 0) return IDLE_MS;
    return Math.min(
      IDLE_MS,
      Math.max(connection.keepAliveMs - MARGIN_MS, connection.keepAliveMs / 2),
    );
  }
}
