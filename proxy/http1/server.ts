/** The caller's side of HTTP/1.1: reads requests one after the other, writes their answers in order. */

import { Timed } from "../clock.ts";
import { ProxyError } from "../errors.ts";
import type { ConnectionInfo, ServeEnv } from "../exchange.ts";
import { RequestHead, type ResponseHead } from "../http/head.ts";
import { latin1 } from "../http/latin1.ts";
import type { Downstream, RequestSink, TakenOver } from "../http/stream.ts";
import type { Transport, TransportHandler } from "../listen/transport.ts";
import { ChunkedDecoder, chunkHead, type ChunkSink } from "./chunked.ts";
import { parseRequestHead } from "./head.ts";
import { NEED_MORE, releaseArrays, scanFailure, TOO_LARGE } from "./scan.ts";
import { responseHeadText, type DownstreamFraming } from "./serialise.ts";

/** Bytes collected into one write before they are handed to the socket. */
export const holdBytes = 16 * 1024;
/** Bytes of later requests kept while one is being answered; more stop the reading. */
const PIPELINE_BYTES = 64 * 1024;
/** After the last answer: what a caller may still send, and for how long, before the connection is cut (RFC 9112 section 9.6). */
const LINGER_BYTES = 256 * 1024;
const LINGER_MS = 2000;
/** While draining: an idle connection is closed when its caller has been quiet for this long. */
const QUIET_MS = 1000;

const EMPTY = Buffer.alloc(0);

/** True when a partial head should be looked at again: a line ended, or a byte came that no head may hold. */
export function worthScanning(chunk: Buffer, afterCr: boolean): boolean {
  if (afterCr) return true;
  for (let i = 0; i < chunk.length; i++) {
    const c = chunk[i]!;
    if ((c < 32 && c !== 9) || c === 127) return true;
  }
  return false;
}

/** Serves what is not HTTP/1.1 after all: its first bytes, the preface of HTTP/2 (RFC 9113 section 3.3), are handed to the new handler. */
export type ServeOther = (
  transport: Transport,
  conn: ConnectionInfo,
  env: ServeEnv,
) => { drain(): void; destroy(): void };

/** What a connection by prior knowledge of HTTP/2 starts with, as far as a parser of HTTP/1.1 gets. */
const otherPreface = Buffer.from("PRI * HTTP/2", "latin1");

/** Serves one connection of a caller. */
export class ServerConnection extends Timed implements TransportHandler, Downstream, ChunkSink {
  private readonly transport: Transport;
  private readonly conn: ConnectionInfo;
  private readonly env: ServeEnv;
  private readonly serveOther: ServeOther | null;
  /** Who serves the connection instead. */
  private successor: ReturnType<ServeOther> | null = null;
  /** Bytes not consumed yet: a partial head, or later requests. */
  private pending: Buffer | null = null;
  /** Filled while a head is being read. */
  private head: RequestHead | null = null;
  private headStartMs = 0;
  private lastActiveMs: number;
  private served = 0;
  private sink: RequestSink | null = null;
  private consuming = false;

  private bodyDone = true;
  private bodyLeft = 0;
  private decoder: ChunkedDecoder | null = null;

  private version = 11;
  private isHeadRequest = false;
  private framing: DownstreamFraming = "none";
  private answerLeft = 0;
  private held = "";
  private closing = false;

  /** The caller has sent FIN. */
  private callerEnded = false;
  private draining = false;
  private lingering = false;
  private lingered = 0;
  private isTaken = false;
  private bodyPaused = false;
  private pipelinePaused = false;
  /** The caller sends requests and does not read answers: no further one is begun until it does. */
  private answersPaused = false;
  /** The caller asked for a 100 and has sent nothing of its body. */
  private awaitsContinue = false;
  /** Bytes of this request's body that came after its answer was complete. */
  private dropped = 0;

  constructor(
    transport: Transport,
    conn: ConnectionInfo,
    env: ServeEnv,
    serveOther: ServeOther | null = null,
  ) {
    super();
    this.serveOther = serveOther;
    this.transport = transport;
    this.conn = conn;
    this.env = env;
    this.lastActiveMs = env.now();
    env.metrics.connection("downstream", 1);
    env.wheel.arm(this, this.lastActiveMs + env.limits.headerTimeoutMs);
    transport.handler = this;
    transport.resume();
  }

  /** Finishes the request at hand, then closes; with none, closes once the caller has been quiet for a second. */
  drain(): void {
    if (this.successor !== null) return this.successor.drain();
    this.draining = true;
    if (this.sink !== null || this.pending !== null || this.isTaken) return;
    // who has just connected, or asks all the time, has a request on its way: closing now would lose it
    const nowMs = this.env.now();
    const dueMs = this.lastActiveMs + QUIET_MS;
    if (nowMs < dueMs) this.env.wheel.arm(this, dueMs);
    else this.closeGracefully();
  }

  destroy(): void {
    this.transport.destroy();
  }

  // === impl TransportHandler ===

  onData(chunk: Buffer): void {
    this.lastActiveMs = this.env.now();
    const pending = this.pending;
    if (pending === null) return this.consume(chunk);
    const all = Buffer.concat([pending, chunk]);
    this.pending = null;
    if (this.sink === null && !this.lingering && all.length <= this.env.limits.headerBytes) {
      if (!worthScanning(chunk, pending[pending.length - 1] === 13)) {
        this.pending = all;
        return;
      }
    }
    this.consume(all);
  }

  onEnd(): void {
    this.callerEnded = true;
    if (this.isTaken || this.answersPaused) return;
    if (this.sink === null || this.lingering) {
      // an end inside a head is an abort; between requests it is a goodbye
      this.transport.end();
      if (this.pending !== null) this.transport.destroy();
    } else if (!this.bodyDone) this.transport.destroy();
  }

  onClose(error: Error | null): void {
    this.env.wheel.disarm(this);
    if (!this.isTaken) this.env.metrics.connection("downstream", -1);
    const sink = this.sink;
    this.sink = null;
    this.pending = null;
    if (this.head !== null) releaseArrays(this.head.headers);
    this.head = null;
    sink?.onCallerGone(error);
  }

  onDrain(): void {
    this.lastActiveMs = this.env.now();
    this.sink?.onCallerReady();
    if (!this.answersPaused) return;
    this.answersPaused = false;
    this.transport.resume();
    this.consumePending();
  }

  override onDue(nowMs: number): void {
    const limits = this.env.limits;
    if (this.lingering) return this.transport.destroy();
    if (this.answersPaused) {
      const dueMs = this.lastActiveMs + limits.idleTimeoutMs;
      if (nowMs < dueMs) this.env.wheel.arm(this, dueMs);
      else this.transport.destroy();
      return;
    }
    if (this.sink !== null) return this.env.wheel.arm(this, nowMs + limits.idleTimeoutMs);
    if (this.pending !== null) {
      const dueMs = this.headStartMs + limits.headerTimeoutMs;
      if (nowMs < dueMs) return this.env.wheel.arm(this, dueMs);
      return this.refuse(
        new ProxyError(
          "request-timeout",
          `the request head was not complete ${limits.headerTimeoutMs} ms after its first byte`,
        ),
      );
    }
    const aliveMs = this.served === 0 ? limits.headerTimeoutMs : limits.idleTimeoutMs;
    const idleMs = this.draining ? QUIET_MS : aliveMs;
    if (nowMs < this.lastActiveMs + idleMs)
      return this.env.wheel.arm(this, this.lastActiveMs + idleMs);
    this.closeGracefully();
  }

  // === reading ===

  private consume(buf: Buffer): void {
    this.consuming = true;
    let at = 0;
    while (at < buf.length && at >= 0 && !this.isTaken) {
      if (this.lingering) {
        this.lingered += buf.length - at;
        if (this.lingered > LINGER_BYTES) this.transport.destroy();
        break;
      }
      if (this.transport.isClosed) break;
      if (!this.bodyDone) at = this.readBody(buf, at);
      else if (this.sink !== null) {
        this.keep(buf, at);
        break;
      } else if (this.transport.needsDrain) {
        this.pending = Buffer.from(buf.subarray(at));
        this.answersPaused = true;
        this.transport.pause();
        break;
      } else at = this.readHead(buf, at);
    }
    this.consuming = false;
    this.sink?.onTurnEnd();
  }

  /** Keeps what belongs to later requests. */
  private keep(buf: Buffer, at: number): void {
    this.pending = Buffer.from(buf.subarray(at));
    if (this.pending.length > PIPELINE_BYTES && !this.pipelinePaused) {
      this.pipelinePaused = true;
      this.transport.pause();
    }
  }

  private readHead(buf: Buffer, at: number): number {
    const head = (this.head ??= new RequestHead());
    const after = parseRequestHead(buf, at, buf.length, head, this.env.limits);
    if (after === NEED_MORE) {
      if (this.callerEnded) {
        this.closeGracefully();
        return -1;
      }
      this.pending = Buffer.from(buf.subarray(at));
      if (this.headStartMs === 0) {
        this.headStartMs = this.lastActiveMs;
        this.env.wheel.arm(this, this.headStartMs + this.env.limits.headerTimeoutMs);
      }
      return -1;
    }
    if (after < 0) {
      if (this.served === 0 && this.serveOther !== null) {
        if (isOther(buf, at)) {
          this.handOver(this.serveOther, buf, at);
          return -1;
        }
        // RFC 9113 section 3.4: who meant to speak HTTP/2, or anything else, can make nothing of an answer of HTTP/1.1
        if (isNoHttp(buf, at)) {
          this.transport.destroy();
          return -1;
        }
      }
      this.refuse(
        new ProxyError(after === TOO_LARGE ? "header-too-large" : "bad-request", scanFailure),
      );
      return -1;
    }
    this.begin(head);
    return after;
  }

  private handOver(serveOther: ServeOther, buf: Buffer, at: number): void {
    const { transport, head } = this;
    if (head !== null) releaseArrays(head.headers);
    this.head = null;
    this.isTaken = true;
    this.env.wheel.disarm(this);
    this.env.metrics.connection("downstream", -1);
    this.successor = serveOther(transport, this.conn, this.env);
    transport.handler.onData(at === 0 ? buf : buf.subarray(at));
  }

  private begin(head: RequestHead): void {
    this.head = null;
    this.headStartMs = 0;
    this.served++;
    head.scheme = this.conn.secure ? "https" : "http";
    this.version = head.version;
    this.isHeadRequest = head.method === "HEAD";
    this.closing = !head.keepAlive;
    this.framing = "none";
    this.bodyLeft = head.framing === "length" ? head.contentLength : 0;
    this.decoder = head.framing === "chunked" ? new ChunkedDecoder() : null;
    this.bodyDone = this.decoder === null && this.bodyLeft === 0;
    this.awaitsContinue = head.expectContinue;
    this.dropped = 0;
    this.env.flow.begin(this.env, this, this.conn, head);
  }

  private refuse(error: ProxyError): void {
    const head = this.head ?? new RequestHead();
    this.head = null;
    this.pending = null;
    this.closing = true;
    // what follows on this connection cannot be trusted: it is read only to let the answer arrive
    this.bodyDone = false;
    this.bodyLeft = 0;
    this.decoder = null;
    this.version = 11;
    this.isHeadRequest = false;
    this.env.flow.refuse(this.env, this, this.conn, head, error);
  }

  private readBody(buf: Buffer, at: number): number {
    this.awaitsContinue = false;
    if (this.decoder === null) {
      const end = Math.min(buf.length, at + this.bodyLeft);
      this.bodyLeft -= end - at;
      if (this.sink === null) this.drop(end - at);
      else this.sink.onRequestData(buf.subarray(at, end));
      if (this.bodyLeft === 0) this.endBody("");
      return end;
    }
    if (this.sink === null) this.drop(buf.length - at);
    const after = this.decoder.feed(buf, at, buf.length, this);
    if (after < 0) {
      if (this.sink === null) this.closeGracefully();
      this.closing = true;
      const code = after === TOO_LARGE ? "body-too-large" : "bad-request";
      this.sink?.onRequestError(
        new ProxyError(code, `the chunked request body is malformed: ${scanFailure}`),
      );
      return -1;
    }
    if (this.decoder.isDone) this.endBody(this.decoder.trailers);
    return after;
  }

  /** The request was answered before its end: the rest is in the way of the next one. */
  private drop(bytes: number): void {
    this.dropped += bytes;
    if (this.dropped > LINGER_BYTES) this.closeGracefully();
  }

  private endBody(trailers: string): void {
    this.bodyDone = true;
    this.decoder = null;
    this.sink?.onRequestEnd(trailers);
  }

  onChunk(buf: Buffer, start: number, end: number): void {
    this.sink?.onRequestData(buf.subarray(start, end));
  }

  // === impl Downstream ===

  attach(sink: RequestSink): void {
    this.sink = sink;
  }

  sendInformational(head: ResponseHead): void {
    if (head.status === 100) this.awaitsContinue = false;
    if (this.version === 10) return;
    this.held += responseHeadText(head, "none", false, false, "");
    this.flush();
  }

  sendHead(head: ResponseHead, extra: string): void {
    if (this.draining || this.env.isDraining() || (this.callerEnded && this.pending === null))
      this.closing = true;
    // who was told to wait for a 100 may never send its body, and a long rest is not worth reading
    if (!this.bodyDone && (this.awaitsContinue || this.bodyLeft > LINGER_BYTES))
      this.closing = true;
    if (this.isHeadRequest || head.framing === "none") this.framing = "none";
    else if (head.framing === "length") {
      this.framing = "length";
      this.answerLeft = head.contentLength;
    } else if (this.version === 11) this.framing = "chunked";
    else {
      this.framing = "close";
      this.closing = true;
    }
    this.held += responseHeadText(
      head,
      this.framing,
      this.closing,
      this.version === 10 && !this.closing,
      extra,
    );
  }

  sendData(chunk: Buffer): boolean {
    switch (this.framing) {
      case "none":
        return true;
      case "length":
        if (chunk.length > this.answerLeft) {
          // more than was announced would be read as the next answer
          chunk = chunk.subarray(0, this.answerLeft);
          this.closing = true;
        }
        this.answerLeft -= chunk.length;
        break;
      case "chunked":
        if (chunk.length === 0) return true;
        this.held += chunkHead(chunk.length);
        break;
    }
    if (this.held.length + chunk.length <= holdBytes) {
      this.held += latin1(chunk, 0, chunk.length);
      if (this.framing === "chunked") this.held += "\r\n";
    } else {
      const before = this.held;
      this.held = "";
      this.transport.writeParts(before, chunk, this.framing === "chunked" ? "\r\n" : "");
    }
    return !this.transport.needsDrain;
  }

  sendEnd(trailers: string): void {
    if (this.framing === "chunked") this.held += `0\r\n${trailers}\r\n`;
    this.flush();
    if (this.framing === "length" && this.answerLeft !== 0) return this.abort();
    this.finish();
  }

  flush(): void {
    if (this.held === "") return;
    const text = this.held;
    this.held = "";
    this.transport.write(text);
  }

  abort(): void {
    this.flush();
    this.sink = null;
    // without a length or chunks, only a reset tells the caller that the answer is cut
    if (this.framing === "close") this.transport.reset();
    else this.closeGracefully();
  }

  pause(): void {
    this.bodyPaused = true;
    this.transport.pause();
  }

  resume(): void {
    if (!this.bodyPaused) return;
    this.bodyPaused = false;
    if (!this.pipelinePaused) this.transport.resume();
  }

  closeAfter(): void {
    this.closing = true;
  }

  takeOver(): TakenOver {
    this.flush();
    this.isTaken = true;
    this.sink = null;
    const { wheel, metrics } = this.env;
    wheel.disarm(this);
    // it is still a connection of a caller
    this.transport.socket.once("close", () => metrics.connection("downstream", -1));
    const rest = this.pending ?? EMPTY;
    this.pending = null;
    return { transport: this.transport, rest, hasEnded: this.callerEnded };
  }

  /** The answer is complete. */
  private finish(): void {
    this.sink = null;
    if (this.closing || (this.callerEnded && this.pending === null)) return this.closeGracefully();
    if (this.bodyPaused || this.pipelinePaused) {
      this.bodyPaused = this.pipelinePaused = false;
      this.transport.resume();
    }
    if (this.draining && this.pending === null) return this.closeGracefully();
    if (!this.consuming) this.consumePending();
  }

  private consumePending(): void {
    const pending = this.pending;
    if (pending === null) return;
    this.pending = null;
    this.consume(pending);
  }

  /** FIN after what is queued; then reads a little on, so that a reset does not overtake the answer. */
  private closeGracefully(): void {
    if (this.lingering) return;
    this.lingering = true;
    this.pending = null;
    this.transport.end();
    if (this.callerEnded) return;
    this.env.wheel.arm(this, this.env.now() + LINGER_MS);
    this.bodyPaused = this.pipelinePaused = false;
    this.transport.resume();
  }
}

/** Serves HTTP/1.1 on an accepted connection. @param serveOther for callers that begin with HTTP/2; null: they are refused */
export function serveHttp1(
  transport: Transport,
  conn: ConnectionInfo,
  env: ServeEnv,
  serveOther: ServeOther | null = null,
): ServerConnection {
  return new ServerConnection(transport, conn, env, serveOther);
}

/** A first line of three words with neither a path nor a version of HTTP in it. */
function isNoHttp(buf: Buffer, at: number): boolean {
  const line = latin1(buf, at, Math.min(buf.length, at + 256));
  return /^[!-~]+ [^\s/*:]+ (?!HTTP\/)[!-~]+\r\n/.test(line);
}

function isOther(buf: Buffer, at: number): boolean {
  if (buf.length - at < otherPreface.length) return false;
  return otherPreface.equals(buf.subarray(at, at + otherPreface.length));
}
