/** A request of a caller over HTTP/2, and its answer. */

import { ProxyError } from "../errors.ts";
import type { RequestHead, ResponseHead } from "../http/head.ts";
import type { Downstream, RequestSink, TakenOver } from "../http/stream.ts";
import type { Http2ServerConnection } from "./server.ts";
import { boundOfResponse, writeResponse } from "./field-writer.ts";
import { ErrorCode, errorName } from "./frames.ts";
import { Http2Stream } from "./stream.ts";
import { TunnelStream, type TunnelCarrier } from "./tunnel-stream.ts";

/** One stream of a {@link Http2ServerConnection}. */
export class ServerStream extends Http2Stream implements Downstream, TunnelCarrier {
  private sink: RequestSink | null = null;
  private readonly isHeadRequest: boolean;
  /** Bytes of the request's body that must still come; -1: it did not say. */
  private bodyLeft: number;
  /** The answer has no body. */
  private isBodyless = false;
  /** Bytes of the answer's body that must still come; -1: any number. */
  private answerLeft = -1;
  /** A CONNECT, extended or not: what follows its head is no body. */
  private readonly isConnect: boolean;
  /** A CONNECT that carries any bytes (RFC 9113 section 8.5), and no Upgrade of HTTP/1.1. */
  private readonly isPlainConnect: boolean;
  /** Bytes of a tunnel that does not stand yet. */
  private early: Buffer[] | null = null;
  private tunnel: TunnelStream | null = null;

  constructor(connection: Http2ServerConnection, id: number, head: RequestHead) {
    super(connection, id);
    this.isHeadRequest = head.method === "HEAD";
    this.bodyLeft = head.framing === "length" ? head.contentLength : -1;
    this.isPlainConnect = head.method === "CONNECT" && head.upgrade === null;
    this.isConnect = this.isPlainConnect || head.upgrade !== null;
  }

  // === impl Http2Stream ===

  protected override onBody(chunk: Buffer): void {
    if (this.isConnect) return this.onTunnelData(chunk);
    if (this.bodyLeft >= 0) {
      this.bodyLeft -= chunk.length;
      if (this.bodyLeft < 0) return this.malformed("a body longer than its Content-Length");
    }
    this.sink?.onRequestData(chunk);
  }

  protected override onBodyEnd(trailers: string): void {
    if (this.bodyLeft > 0) return this.malformed("a body shorter than its Content-Length");
    if (this.isConnect) this.tunnel?.handler.onEnd();
    else this.sink?.onRequestEnd(trailers);
  }

  override onReady(): void {
    this.tunnel?.handler.onDrain();
    this.sink?.onCallerReady();
  }

  override onTurnEnd(): void {
    this.sink?.onTurnEnd();
  }

  override onGone(code: number, error: Error | null): void {
    const { sink, tunnel } = this;
    this.sink = this.tunnel = null;
    const cause = error ?? new Error(`the stream was reset with ${errorName(code)}`);
    // RFC 9113 section 8.5, RFC 8441 section 5: a stream that is cut is a connection that is reset
    tunnel?.handler.onClose(cause);
    sink?.onCallerGone(cause);
  }

  /** Both sides of a tunnel have ended. */
  override release(): void {
    const { tunnel } = this;
    this.tunnel = null;
    super.release();
    tunnel?.handler.onClose(null);
  }

  /** Nobody waits for the rest of the request (RFC 9113 section 8.1). */
  protected override onAnsweredEarly(): void {
    if (this.tunnel !== null) return;
    this.sink = null;
    this.connection.resetStream(
      this,
      ErrorCode.noError,
      "answered before the end of the request",
      true,
    );
  }

  /** RFC 9113 section 8.1.1: a stream error. The exchange is told the reason, for its log line; the caller gets RST_STREAM. */
  malformed(why: string): void {
    const { sink } = this;
    this.sink = null;
    this.connection.resetStream(this, ErrorCode.protocolError, why);
    sink?.onRequestError(new ProxyError("bad-request", `the HTTP/2 request is malformed: ${why}`));
  }

  // === impl Downstream ===

  attach(sink: RequestSink): void {
    this.sink = sink;
  }

  sendInformational(head: ResponseHead): void {
    // RFC 9113 section 8.6: there is no 101
    if (this.isGone || this.localEnded || head.status === 101) return;
    this.sendBlock(head, "", -1);
  }

  sendHead(head: ResponseHead, extra: string): void {
    if (this.isGone || this.localEnded) return;
    const { status, contentLength } = head;
    this.isBodyless = this.isHeadRequest || head.framing === "none";
    if (this.isBodyless) {
      const says = contentLength >= 0 && status >= 200 && status !== 204;
      this.sendBlock(head, extra, says ? contentLength : -1);
    } else {
      this.answerLeft = head.framing === "length" ? contentLength : -1;
      this.sendBlock(head, extra, this.answerLeft);
    }
  }

  private sendBlock(head: ResponseHead, extra: string, contentLength: number): void {
    const { connection } = this;
    const block = connection.output.beginBlock(boundOfResponse(head, extra));
    const { encoder, output } = connection;
    output.endBlock(
      this.id,
      writeResponse(encoder, block, output.blockAt, head, extra, contentLength),
      0,
    );
  }

  sendData(chunk: Buffer): boolean {
    if (this.isBodyless) return true;
    if (this.answerLeft >= 0) {
      this.answerLeft -= chunk.length;
      if (this.answerLeft < 0) {
        this.abort();
        return true;
      }
    }
    return this.sendBody(chunk);
  }

  sendEnd(trailers: string): void {
    if (this.answerLeft > 0) return this.abort();
    this.sink = null;
    this.endBody(this.isBodyless ? "" : trailers);
  }

  /** Frames of all streams leave together at the end of the turn. */
  flush(): void {}

  abort(): void {
    this.sink = null;
    this.connection.resetStream(this, ErrorCode.internalError, "the answer was cut", true);
  }

  /** Only HTTP/1.1 has to close its connection for that; here the stream ends anyway. */
  closeAfter(): void {}

  takeOver(): TakenOver | null {
    if (!this.isConnect || this.isGone) return null;
    this.sink = null;
    this.tunnel = new TunnelStream(this, this.remoteEnded);
    const rest = Buffer.concat(this.early ?? []);
    this.early = null;
    // a tunnel tells its end itself
    return { transport: this.tunnel, rest, hasEnded: false };
  }

  // === impl TunnelCarrier ===

  private onTunnelData(chunk: Buffer): void {
    if (this.tunnel !== null) return this.tunnel.handler.onData(chunk);
    this.early ??= [];
    this.early.push(Buffer.from(chunk));
    this.pause();
  }

  sendTunnelData(chunk: Buffer): boolean {
    return this.sendBody(chunk);
  }

  endTunnel(): void {
    this.endBody("");
  }

  /** Nothing follows from our side: what is queued is lost where it has not ended. */
  cutTunnel(): void {
    this.resetTunnel(this.localEnded ? ErrorCode.noError : ErrorCode.cancel);
  }

  /** The connection behind the tunnel broke: RFC 9113 section 8.5, RFC 8441 section 5. */
  breakTunnel(): void {
    this.resetTunnel(this.isPlainConnect ? ErrorCode.connectError : ErrorCode.cancel);
  }

  private resetTunnel(code: number): void {
    if (this.isGone || (this.localEnded && this.remoteEnded)) return;
    this.connection.resetStream(this, code, "the tunnel was cut", true);
  }
}
