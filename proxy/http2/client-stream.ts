/** One request to an endpoint over HTTP/2, and its answer. */

import { ProxyError } from "../errors.ts";
import type { ResponseHead } from "../http/head.ts";
import type { OutgoingRequest, ResponseSink, UpstreamStream } from "../http/stream.ts";
import { releaseArrays } from "../http1/scan.ts";
import type { ClientSession } from "./client.ts";
import { ErrorCode, errorName } from "./frames.ts";
import { Http2Stream } from "./stream.ts";

/** Informational answers to one request; more is a flood. */
const INFORMATIONAL_LIMIT = 16;

/** A stream of a {@link ClientSession}. */
export class ClientStream extends Http2Stream implements UpstreamStream {
  readonly mayRefuse = true;
  method = "GET";
  /** The final head has come. */
  hasHead = false;
  declare protected readonly connection: ClientSession;
  private sink: ResponseSink | null = null;
  private isSilent = true;
  private informational = 0;
  /** Bytes of the answer's body that must still come; -1: it did not say. */
  private bodyLeft = -1;
  /** An extended CONNECT (RFC 8441): its two directions end each on their own. */
  isTunnel = false;
  private told: ((error: ProxyError | null, connects: boolean) => void) | null = null;

  /** A session that has served before may be closing at this moment, and its GOAWAY be on the way. */
  get isReused(): boolean {
    return this.id > 1;
  }

  get isOver(): boolean {
    return this.isGone;
  }

  // === impl UpstreamStream ===

  send(sink: ResponseSink, request: OutgoingRequest): void {
    this.sink = sink;
    const { method, framing, contentLength } = request.req;
    this.method = method;
    this.localEnded = framing === "none" || (framing === "length" && contentLength === 0);
    this.connection.writeRequest(this, request);
  }

  /** Sends the request as an extended CONNECT for a WebSocket. Only where {@link whetherConnects} said so. */
  sendConnect(sink: ResponseSink, request: OutgoingRequest): void {
    this.sink = sink;
    this.isTunnel = true;
    this.connection.writeRequest(this, request);
  }

  /** Whether the endpoint takes an extended CONNECT: its first SETTINGS say so, and a stream that is given up is not told. */
  whetherConnects(told: (error: ProxyError | null, connects: boolean) => void): void {
    const { connects } = this.connection;
    if (connects === null) this.told = told;
    else told(null, connects);
  }

  /** The endpoint's first SETTINGS are there. */
  onSettled(): void {
    const { told } = this;
    this.told = null;
    told?.(null, this.connection.peerConnects);
  }

  write(chunk: Buffer): boolean {
    return this.sendBody(chunk);
  }

  end(trailers: string): void {
    this.endBody(trailers);
  }

  /** Frames of a turn leave together: see output.ts. */
  flush(): void {}

  cancel(): void {
    if (this.isGone) return;
    const { sink, connection } = this;
    this.sink = this.told = null;
    const why = "the request was given up";
    // a stream that the endpoint has not seen cannot be reset
    if (sink === null) connection.abandon(this, new Error(why));
    else connection.resetStream(this, ErrorCode.cancel, why, true);
  }

  // === receiving ===

  onAnswer(head: ResponseHead, isLast: boolean): void {
    this.isSilent = false;
    const { sink } = this;
    if (sink === null) {
      this.malformed("an answer to nothing");
      return releaseArrays(head.headers);
    }
    if (head.status < 200) {
      if (++this.informational > INFORMATIONAL_LIMIT)
        this.malformed("too many informational answers");
      else sink.onInformational(head);
      return releaseArrays(head.headers);
    }
    this.hasHead = true;
    this.bodyLeft =
      head.framing === "none" ? 0 : head.framing === "length" ? head.contentLength : -1;
    sink.onHead(head);
    if (isLast && !this.isGone) this.receiveEnd("");
  }

  protected override onBody(chunk: Buffer): void {
    if (!this.hasHead) return this.malformed("a body before the head");
    if (this.bodyLeft >= 0) {
      this.bodyLeft -= chunk.length;
      if (this.bodyLeft < 0)
        return this.malformed("a body longer than its Content-Length, or where none may be");
    }
    this.sink!.onResponseData(chunk);
  }

  protected override onBodyEnd(trailers: string): void {
    if (!this.hasHead) return this.malformed("a body before the head");
    if (this.bodyLeft > 0) return this.malformed("a body shorter than its Content-Length");
    const sink = this.sink!;
    if (this.isTunnel) return sink.onResponseEnd(trailers);
    this.sink = null;
    // an answer before the end of the request: RFC 9113 section 8.1 ends the rest with NO_ERROR
    if (!this.localEnded)
      this.connection.resetStream(this, ErrorCode.noError, "answered before its end", true);
    sink.onResponseEnd(trailers);
  }

  override onReady(): void {
    this.sink?.onUpstreamReady();
  }

  override onTurnEnd(): void {
    this.sink?.onTurnEnd();
  }

  // === ends ===

  /** A stream error: this answer is over, the connection goes on. */
  malformed(why: string): void {
    this.connection.resetStream(this, ErrorCode.protocolError, why);
  }

  override onRefused(_code: number, why: string): void {
    const invalid = `${this.connection.address} sent an invalid answer: ${why}`;
    this.fail(new ProxyError("upstream-invalid", invalid), false);
  }

  override onGone(code: number, error: Error | null): void {
    this.fail(error instanceof ProxyError ? error : this.lossOf(code, error), this.isSilent);
  }

  private lossOf(code: number, error: Error | null): ProxyError {
    const { address } = this.connection;
    if (error === null && code === ErrorCode.refusedStream)
      return new ProxyError("upstream-reset", `${address} refused the stream`, { retryable: true });
    const what = error?.message ?? `${address} reset the stream (${errorName(code)})`;
    const where = this.hasHead ? "in the middle of its answer" : "before an answer";
    return new ProxyError("upstream-reset", `${what} ${where}`);
  }

  /** Both directions of a tunnel have ended. */
  override release(): void {
    super.release();
    const { sink } = this;
    this.sink = null;
    sink?.onUpstreamReady();
  }

  private fail(error: ProxyError, isSilent: boolean): void {
    const { sink, told } = this;
    this.sink = this.told = null;
    told?.(error, false);
    sink?.onFailure(error, isSilent);
  }
}
