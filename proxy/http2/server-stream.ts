/** A request of a caller over HTTP/2, and its answer. */

import { ProxyError } from "../errors.ts";
import type { RequestHead, ResponseHead } from "../http/head.ts";
import type { Downstream, RequestSink } from "../http/stream.ts";
import type { Transport } from "../listen/transport.ts";
import type { Http2ServerConnection } from "./server.ts";
import { boundOfResponse, writeResponse } from "./field-writer.ts";
import { ErrorCode, errorName } from "./frames.ts";
import { Http2Stream } from "./stream.ts";

/** One stream of a {@link Http2ServerConnection}. */
export class ServerStream extends Http2Stream implements Downstream {
  private sink: RequestSink | null = null;
  private readonly isHeadRequest: boolean;
  /** Bytes of the request's body that must still come; -1: it did not say. */
  private bodyLeft: number;
  /** The answer has no body. */
  private isBodyless = false;
  /** Bytes of the answer's body that must still come; -1: any number. */
  private answerLeft = -1;

  constructor(connection: Http2ServerConnection, id: number, head: RequestHead) {
    super(connection, id);
    this.isHeadRequest = head.method === "HEAD";
    this.bodyLeft = head.framing === "length" ? head.contentLength : -1;
  }

  // === impl Http2Stream ===

  protected override onBody(chunk: Buffer): void {
    if (this.bodyLeft >= 0) {
      this.bodyLeft -= chunk.length;
      if (this.bodyLeft < 0) return this.malformed("a body longer than its Content-Length");
    }
    this.sink?.onRequestData(chunk);
  }

  protected override onBodyEnd(trailers: string): void {
    if (this.bodyLeft > 0) return this.malformed("a body shorter than its Content-Length");
    this.sink?.onRequestEnd(trailers);
  }

  override onReady(): void {
    this.sink?.onCallerReady();
  }

  override onTurnEnd(): void {
    this.sink?.onTurnEnd();
  }

  override onGone(code: number, error: Error | null): void {
    const { sink } = this;
    this.sink = null;
    sink?.onCallerGone(error ?? new Error(`the stream was reset with ${errorName(code)}`));
  }

  /** Nobody waits for the rest of the request (RFC 9113 section 8.1). */
  protected override onAnsweredEarly(): void {
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
    const block = connection.beginBlock(boundOfResponse(head, extra));
    const { encoder, blockAt } = connection;
    connection.endBlock(
      this.id,
      writeResponse(encoder, block, blockAt, head, extra, contentLength),
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

  takeOver(): { readonly transport: Transport; readonly rest: Buffer } | null {
    return null;
  }
}
