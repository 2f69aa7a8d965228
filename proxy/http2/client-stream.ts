/** One request to an endpoint over HTTP/2, and its answer. */

import { ProxyError } from "../errors.ts";
import type { ResponseHead } from "../http/head.ts";
import type { OutgoingRequest, ResponseSink, UpstreamStream } from "../http/stream.ts";
import { releaseArrays } from "../http1/scan.ts";
import type { ClientSession } from "./client.ts";
import { ReceiveWindow, streamWindowMax, threadBudget } from "./flow.ts";
import { ErrorCode, errorName, Flag, FrameType, typeWith } from "./frames.ts";

/** Informational answers to one request; more is a flood. */
const INFORMATIONAL_LIMIT = 16;
/** Request bytes that wait for a window before the caller is held back. */
const QUEUE_BYTES = 64 * 1024;
/** What we grant a stream from the start. */
export const STREAM_WINDOW = 256 * 1024;

const EMPTY = Buffer.alloc(0);

/** A stream of a {@link ClientSession}. */
export class ClientStream implements UpstreamStream {
  readonly id: number;
  readonly mayRefuse = true;
  method = "GET";
  hasHead = false;
  isOver = false;
  sendWindow: number;
  readonly received = new ReceiveWindow(threadBudget, streamWindowMax, STREAM_WINDOW);
  private readonly session: ClientSession;
  private sink: ResponseSink | null = null;
  private silent = true;
  private informational = 0;
  private lengthLeft = -1;
  private isPaused = false;
  private unconsumed = 0;
  /** Request bytes that wait for a window. */
  private queue: Buffer[] = [];
  private queued = 0;
  private requestDone = false;
  private endSent = false;
  private trailers = "";
  private isHeldBack = false;

  /** A session that has served before may be closing at this moment, and its GOAWAY be on the way. */
  get isReused(): boolean {
    return this.id > 1;
  }

  constructor(session: ClientSession, id: number, sendWindow: number) {
    this.session = session;
    this.id = id;
    this.sendWindow = sendWindow;
  }

  // === impl UpstreamStream ===

  send(sink: ResponseSink, request: OutgoingRequest): void {
    this.sink = sink;
    const { req } = request;
    this.method = req.method;
    const ends = req.framing === "none" || (req.framing === "length" && req.contentLength === 0);
    this.requestDone = this.endSent = ends;
    this.session.writeRequest(this, request, ends);
  }

  write(chunk: Buffer): boolean {
    if (this.isOver || chunk.length === 0) return true;
    if (this.queued === 0) {
      const now = this.grantOf(chunk.length);
      if (now > 0) this.writeData(chunk, 0, now, false);
      if (now === chunk.length) return this.ready();
      this.enqueue(chunk.subarray(now));
    } else this.enqueue(chunk);
    return this.ready();
  }

  end(trailers: string): void {
    if (this.requestDone) return;
    this.requestDone = true;
    this.trailers = trailers;
    if (this.queued === 0) this.finishRequest();
  }

  flush(): void {
    // frames of a turn leave together: see output.ts
  }

  cancel(): void {
    if (this.isOver) return;
    const isSent = this.sink !== null;
    this.over();
    // to the endpoint, a stream that nothing was sent on is none
    if (isSent) this.session.reset(this, ErrorCode.cancel);
    else this.session.forget(this);
  }

  pause(): void {
    this.isPaused = true;
    this.received.stopGrowing();
  }

  resume(): void {
    if (!this.isPaused) return;
    this.isPaused = false;
    const bytes = this.unconsumed;
    this.unconsumed = 0;
    if (bytes > 0) this.session.consumed(this, bytes);
  }

  // === sending ===

  private ready(): boolean {
    const ready = this.queued < QUEUE_BYTES && this.session.isReady;
    if (!ready) this.isHeldBack = true;
    return ready;
  }

  private grantOf(bytes: number): number {
    return Math.max(0, Math.min(bytes, this.sendWindow, this.session.sendWindow));
  }

  private writeData(chunk: Buffer, start: number, end: number, ends: boolean): void {
    const { session } = this;
    this.sendWindow -= end - start;
    session.sendWindow -= end - start;
    session.empty = 0;
    const { output, maxFrame } = session;
    output.data(
      this.id,
      chunk,
      start,
      end,
      maxFrame,
      typeWith(FrameType.data, ends ? Flag.endStream : 0),
    );
  }

  private enqueue(chunk: Buffer): void {
    this.queue.push(Buffer.from(chunk));
    this.queued += chunk.length;
  }

  /** Sends what the windows allow. */
  pump(): void {
    while (this.queued > 0 && !this.isOver) {
      const chunk = this.queue[0]!;
      const now = this.grantOf(chunk.length);
      if (now === 0) return;
      this.writeData(chunk, 0, now, false);
      this.queued -= now;
      if (now === chunk.length) this.queue.shift();
      else this.queue[0] = chunk.subarray(now);
    }
    if (this.isOver) return;
    if (this.requestDone && !this.endSent) this.finishRequest();
    if (this.isHeldBack && this.queued < QUEUE_BYTES && this.session.isReady) {
      this.isHeldBack = false;
      this.sink?.onUpstreamReady();
    }
  }

  private finishRequest(): void {
    if (this.endSent) return;
    this.endSent = true;
    const { output } = this.session;
    if (this.trailers !== "") this.session.writeTrailers(this, this.trailers);
    else if (!output.amend(this.id, Flag.endStream)) this.writeData(EMPTY, 0, 0, true);
  }

  // === receiving ===

  onAnswer(head: ResponseHead, ends: boolean): void {
    this.silent = false;
    const sink = this.sink!;
    if (head.status < 200) {
      if (++this.informational > INFORMATIONAL_LIMIT)
        return this.malformed("too many informational answers");
      sink.onInformational(head);
      releaseArrays(head.headers);
      return;
    }
    this.hasHead = true;
    this.lengthLeft =
      head.framing === "none" ? 0 : head.framing === "length" ? head.contentLength : -1;
    sink.onHead(head);
    if (ends && this.sink === sink) this.complete("");
    this.sink?.onTurnEnd();
  }

  /** @param counted what the frame took from the windows, padding included */
  onBody(buf: Buffer, start: number, end: number, counted: number, ends: boolean): void {
    if (!this.received.receive(counted))
      return this.malformed("more bytes than the stream's window", ErrorCode.flowControlError);
    if (!this.hasHead) return this.malformed("a body before the head");
    const length = end - start;
    if (this.lengthLeft >= 0) {
      this.lengthLeft -= length;
      if (this.lengthLeft < 0)
        return this.malformed("a body longer than its Content-Length, or where none may be");
    }
    if (length > 0) this.sink!.onResponseData(buf.subarray(start, end));
    if (this.isPaused && !ends) this.unconsumed += counted;
    else this.session.consumed(this, counted);
    if (ends && this.sink !== null) this.complete("");
    this.sink?.onTurnEnd();
  }

  onTrailers(lines: string): void {
    this.complete(lines);
  }

  private complete(trailers: string): void {
    if (this.lengthLeft > 0) return this.malformed("a body shorter than its Content-Length");
    const sink = this.sink!;
    this.over();
    // an answer before the end of the request: RFC 9113 section 8.1 ends the rest with NO_ERROR
    if (this.endSent) this.session.forget(this);
    else this.session.reset(this, ErrorCode.noError);
    sink.onResponseEnd(trailers);
  }

  /** The endpoint ended the stream. */
  wasReset(code: number): void {
    if (code === ErrorCode.refusedStream)
      return this.refused(`${this.session.address} refused the stream`);
    // RFC 9113 section 8.1: the answer is whole, and the rest of the request is not wanted
    this.endWith(
      new ProxyError(
        "upstream-reset",
        `${this.session.address} reset the stream (${errorName(code)}) ${this.where}`,
      ),
    );
  }

  /** Nothing of the request has been processed: it may go elsewhere, whatever it is. */
  refused(why: string): void {
    this.endWith(new ProxyError("upstream-reset", why, { retryable: true }));
  }

  lost(how: string): void {
    this.endWith(new ProxyError("upstream-reset", `${how} ${this.where}`));
  }

  broken(error: ProxyError): void {
    this.endWith(error);
  }

  /** A stream error: this answer is over, the connection goes on. */
  malformed(why: string, code: number = ErrorCode.protocolError): void {
    if (this.isOver) return;
    const sink = this.sink;
    this.over();
    this.session.refuse(this, code, why);
    sink?.onFailure(
      new ProxyError("upstream-invalid", `${this.session.address} sent an invalid answer: ${why}`),
      false,
    );
  }

  private endWith(error: ProxyError): void {
    if (this.isOver) return;
    const sink = this.sink;
    this.over();
    this.session.forget(this);
    sink?.onFailure(error, this.silent);
  }

  private over(): void {
    this.isOver = true;
    this.sink = null;
    this.queue = [];
    this.queued = 0;
  }

  private get where(): string {
    return this.hasHead ? "in the middle of its answer" : "before an answer";
  }
}
