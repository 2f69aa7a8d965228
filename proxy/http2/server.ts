/** The caller's side of HTTP/2: requests of one connection, side by side. */

import { ProxyError } from "../errors.ts";
import type { ConnectionInfo, ServeEnv } from "../exchange.ts";
import { RequestHead } from "../http/head.ts";
import { releaseArrays } from "../http1/scan.ts";
import type { Transport } from "../listen/transport.ts";
import { Http2Connection } from "./connection.ts";
import { threadBudget, type WindowBudget } from "./flow.ts";
import {
  ErrorCode,
  Setting,
  clientPreface,
  defaultFrameBytes,
  errorName,
  maxStreamId,
  settingsFrame,
} from "./frames.ts";
import { requestReader, trailerReader } from "./message-reader.ts";
import { ServerStream } from "./server-stream.ts";
import { ownStreamWindow, type Http2Stream } from "./stream.ts";

/** What may differ from the defaults. */
export interface Http2ServerOptions {
  /** Streams of one connection at the same time (SETTINGS_MAX_CONCURRENT_STREAMS), default 128: nginx's. */
  readonly concurrentStreams?: number;
  /** Windows beyond the protocol's default come from here; default: what the connections of this thread share. */
  readonly budget?: WindowBudget;
}

const CONCURRENT_STREAMS = 128;
/** CVE-2023-44487, CVE-2025-8671 (nghttp2: 1000 and 33). */
const resets = { atOnce: 200, perSecond: 50 };
/** After GOAWAY: what a caller may still send, and for how long, before the connection is cut. */
const LINGER_BYTES = 1024 * 1024;
const LINGER_MS = 2000;
/** Bytes of answers that a caller leaves unread before its requests are not read either: heads know no window. */
const UNREAD_MAX = 1024 * 1024;
/** A caller that does not answer the PING of a drain has got its GOAWAY by then. */
const DRAIN_MS = 1000;
const DRAIN_PING = Buffer.from("weft-out", "latin1");

/** Serves one connection of a caller. */
export class Http2ServerConnection extends Http2Connection {
  private readonly conn: ConnectionInfo;
  private readonly env: ServeEnv;
  private readonly concurrentStreams: number;
  private readonly startMs: number;
  private lastActiveMs: number;
  /** Last time the socket took bytes while it was full. */
  private drainedMs = 0;
  /** Octets of the preface that have come. */
  private prefaceAt = 0;
  private lastId = 0;
  /** Streams above are not served: what the final GOAWAY has said. */
  private limitId = maxStreamId;
  private draining: "no" | "announced" | "final" = "no";
  private drainDueMs = 0;
  private callerEnded = false;
  private lingering = false;
  private lingered = 0;

  constructor(
    transport: Transport,
    conn: ConnectionInfo,
    env: ServeEnv,
    options: Http2ServerOptions = {},
  ) {
    super(transport, {
      budget: options.budget ?? threadBudget,
      now: env.now,
      ownWindow: ownStreamWindow,
      blockBytes: env.limits.headerBytes * 2 + defaultFrameBytes,
      resets,
    });
    this.conn = conn;
    this.env = env;
    this.concurrentStreams = options.concurrentStreams ?? CONCURRENT_STREAMS;
    this.startMs = this.lastActiveMs = env.now();
    env.metrics.connection("downstream", 1);
    env.wheel.arm(this, this.startMs + env.limits.headerTimeoutMs);
    this.output.frame(
      settingsFrame([
        [Setting.maxConcurrentStreams, this.concurrentStreams],
        [Setting.maxHeaderListSize, env.limits.headerBytes],
        [Setting.enableConnectProtocol, 1],
        [Setting.noRfc7540Priorities, 1],
      ]),
    );
    transport.handler = this;
    transport.resume();
  }

  /** Announces the end, then serves what was under way (RFC 9113 section 6.8), then closes. */
  drain(): void {
    if (this.draining !== "no" || this.isOver || this.lingering) return;
    this.draining = "announced";
    this.output.goaway(maxStreamId, ErrorCode.noError, "");
    this.output.ping(DRAIN_PING, 0);
    this.drainDueMs = this.env.now() + DRAIN_MS;
    this.env.wheel.arm(this, this.drainDueMs);
  }

  destroy(): void {
    this.transport.destroy();
  }

  // === impl TransportHandler ===

  override onData(chunk: Buffer): void {
    if (this.lingering || this.isOver) {
      this.lingered += chunk.length;
      if (this.lingered > LINGER_BYTES) this.transport.destroy();
      return;
    }
    this.lastActiveMs = this.env.now();
    if (this.prefaceAt < clientPreface.length) {
      const n = Math.min(chunk.length, clientPreface.length - this.prefaceAt);
      for (let i = 0; i < n; i++) {
        if (chunk[i] !== clientPreface[this.prefaceAt + i])
          return this.fail(ErrorCode.protocolError, "the connection preface is wrong");
      }
      this.prefaceAt += n;
      if (n === chunk.length) return;
      chunk = chunk.subarray(n);
    }
    this.readFrames(chunk);
    if (this.output.isFull && this.transport.writableBytes > UNREAD_MAX) this.transport.pause();
  }

  /** Nobody reads an answer who has closed: HTTP/2 has no use for half a connection. */
  override onEnd(): void {
    this.callerEnded = true;
    if (!this.lingering && !this.isOver) {
      this.end(ErrorCode.cancel, new Error("the caller closed the connection"));
      this.output.flush();
    }
    this.transport.end();
  }

  override onClose(error: Error | null): void {
    this.env.wheel.disarm(this);
    this.env.metrics.connection("downstream", -1);
    this.end(ErrorCode.cancel, error);
  }

  override onDrain(): void {
    this.drainedMs = this.env.now();
    this.transport.resume();
    super.onDrain();
  }

  override onDue(nowMs: number): void {
    if (this.lingering || this.isOver) return this.transport.destroy();
    const { headerTimeoutMs, idleTimeoutMs } = this.env.limits;
    if (this.draining === "announced" && nowMs >= this.drainDueMs) this.finishDrain();
    if (!this.isOpen && nowMs >= this.startMs + headerTimeoutMs)
      return this.fail(ErrorCode.settingsTimeout, `no SETTINGS within ${headerTimeoutMs} ms`);
    if (this.isInBlock && nowMs >= this.blockStartMs + headerTimeoutMs)
      return this.fail(
        ErrorCode.enhanceYourCalm,
        `a header block was not complete after ${headerTimeoutMs} ms`,
      );
    if (this.output.isFull && nowMs >= Math.max(this.drainedMs, this.lastActiveMs) + idleTimeoutMs)
      return this.transport.destroy();
    this.resetBlocked(nowMs - idleTimeoutMs, `its window stayed shut for ${idleTimeoutMs} ms`);
    if (this.isOver || this.lingering) return;
    const idleMs = this.lastId === 0 ? headerTimeoutMs : idleTimeoutMs;
    if (this.streams.size === 0 && nowMs >= this.lastActiveMs + idleMs) return this.sayGoodbye();
    this.env.wheel.arm(this, this.nextDueMs(nowMs));
  }

  private nextDueMs(nowMs: number): number {
    const { headerTimeoutMs, idleTimeoutMs } = this.env.limits;
    let dueMs = nowMs + idleTimeoutMs;
    if (!this.isOpen) dueMs = Math.min(dueMs, this.startMs + headerTimeoutMs);
    if (this.isInBlock) dueMs = Math.min(dueMs, this.blockStartMs + headerTimeoutMs);
    if (this.draining === "announced") dueMs = Math.min(dueMs, this.drainDueMs);
    const sinceMs = this.blockedSinceMs;
    if (sinceMs > 0) dueMs = Math.min(dueMs, sinceMs + idleTimeoutMs);
    if (this.streams.size === 0)
      dueMs = Math.min(
        dueMs,
        this.lastActiveMs + (this.lastId === 0 ? headerTimeoutMs : idleTimeoutMs),
      );
    return dueMs;
  }

  protected override onBlockBegun(): void {
    const dueMs = this.blockStartMs + this.env.limits.headerTimeoutMs;
    if (dueMs < this.dueMs) this.env.wheel.arm(this, dueMs);
  }

  // === impl Http2Connection ===

  protected override get lastStreamId(): number {
    return this.lastId;
  }

  protected override get maxPush(): number {
    return 1;
  }

  /** RFC 9218 section 7.1: stream 0 has no priority, and pushed streams are never there. */
  protected override onPriorityUpdate(streamId: number): void {
    if ((streamId & 1) === 0) this.fail(ErrorCode.protocolError, "PRIORITY_UPDATE of no request");
  }

  protected override isIdle(streamId: number): boolean {
    return (streamId & 1) === 0 || streamId > this.lastId;
  }

  protected override onBlock(
    streamId: number,
    isWhole: boolean,
    isBad: boolean,
    buf: Buffer,
    start: number,
    end: number,
  ): void {
    if (streamId <= this.lastId || (streamId & 1) === 0)
      return this.onLaterBlock(streamId, isWhole, isBad, buf, start, end);
    if (streamId > this.limitId) return void this.skip(buf, start, end);
    this.lastId = streamId;
    const head = new RequestHead();
    requestReader.begin(head, this.env.limits);
    if (!this.decode(buf, start, end, requestReader)) return releaseArrays(head.headers);
    const verdict = requestReader.finish(isWhole);
    if (this.streams.size >= this.concurrentStreams) {
      releaseArrays(head.headers);
      return this.resetClosed(
        streamId,
        ErrorCode.refusedStream,
        `more than ${this.concurrentStreams} streams at once`,
      );
    }
    const { env, conn } = this;
    head.scheme = conn.secure ? "https" : "http";
    const stream = new ServerStream(this, streamId, head);
    stream.remoteEnded = isWhole;
    this.streams.set(streamId, stream);
    if (isBad || verdict === "malformed") {
      const why = isBad ? "a stream that depends on itself" : requestReader.failure;
      return this.refuseMalformed(stream, head, why);
    }
    if (verdict === "too-large") {
      const error = new ProxyError("header-too-large", requestReader.failure);
      return env.flow.refuse(env, stream, conn, head, error);
    }
    if (!isWhole) this.touch(stream);
    env.flow.begin(env, stream, conn, head);
  }

  /** The caller gets RST_STREAM; the exchange exists for the log and the counters alone. */
  private refuseMalformed(stream: ServerStream, head: RequestHead, why: string): void {
    const { env, conn } = this;
    this.resetStream(stream, ErrorCode.protocolError, why);
    const error = new ProxyError("bad-request", `the HTTP/2 request is malformed: ${why}`);
    env.flow.refuse(env, stream, conn, head, error);
  }

  /** Trailers, or a block on a stream that has ended. */
  private onLaterBlock(
    streamId: number,
    isWhole: boolean,
    isBad: boolean,
    buf: Buffer,
    start: number,
    end: number,
  ): void {
    const stream = this.streams.get(streamId) as ServerStream | undefined;
    if (stream === undefined) {
      if ((streamId & 1) === 0)
        return this.fail(ErrorCode.protocolError, "a stream with an even number from a client");
      if (this.wasReset(streamId)) return void this.skip(buf, start, end);
      if (this.wasClosed(streamId))
        return this.fail(ErrorCode.streamClosed, "HEADERS on a closed stream");
      return this.fail(ErrorCode.protocolError, "a stream with a lower number than one before");
    }
    trailerReader.begin();
    if (!this.decode(buf, start, end, trailerReader)) return;
    if (stream.remoteEnded)
      return this.resetStream(stream, ErrorCode.streamClosed, "HEADERS after END_STREAM");
    if (isBad) return stream.malformed("a stream that depends on itself");
    if (!isWhole) return stream.malformed("a second head: trailers that do not end the stream");
    const trailers = trailerReader.finish();
    if (trailers === null) return stream.malformed(trailerReader.failure);
    this.touch(stream);
    stream.receiveEnd(trailers);
  }

  protected override onPeerGoaway(): void {
    // a client that goes away opens no more streams; those that it has go on
  }

  protected override onPingAck(): void {
    if (this.draining === "announced") this.finishDrain();
  }

  /** What was under way when the first GOAWAY left has arrived: from here on nothing new is served. */
  private finishDrain(): void {
    this.draining = "final";
    this.limitId = this.lastId;
    this.output.goaway(this.lastId, ErrorCode.noError, "");
    if (this.streams.size === 0) this.closeGracefully();
  }

  protected override onStreamClosed(_stream: Http2Stream): void {
    if (this.streams.size > 0) return;
    this.lastActiveMs = this.env.now();
    if (this.draining === "final") this.closeGracefully();
  }

  private sayGoodbye(): void {
    this.limitId = this.lastId;
    this.output.goaway(this.lastId, ErrorCode.noError, "idle");
    this.closeGracefully();
  }

  protected override onError(code: number, streamId: number, why: string): void {
    const { env, conn } = this;
    env.metrics.protocolError("downstream", errorName(code));
    const where = streamId === 0 ? "connection closed" : `stream ${streamId} reset`;
    env.log[code === ErrorCode.enhanceYourCalm ? "warn" : "info"](
      `http2: ${where}: ${errorName(code)}: ${why}`,
      { listener: conn.listener, client: conn.client.address, error: errorName(code) },
    );
  }

  protected override onOver(): void {
    this.linger();
  }

  private closeGracefully(): void {
    if (this.lingering) return;
    this.output.flush();
    this.linger();
  }

  /** FIN after what is queued; then reads a little on, so that a reset does not overtake the last frames. */
  private linger(): void {
    if (this.lingering) return;
    this.lingering = true;
    this.transport.end();
    if (this.callerEnded) return;
    this.env.wheel.arm(this, this.env.now() + LINGER_MS);
    this.transport.resume();
  }
}

/** Serves HTTP/2 on an accepted connection. */
export function serveHttp2(
  transport: Transport,
  conn: ConnectionInfo,
  env: ServeEnv,
  options?: Http2ServerOptions,
): Http2ServerConnection {
  return new Http2ServerConnection(transport, conn, env, options);
}
