/** The endpoint's side of HTTP/1.1: one connection, one request at a time, reused when that is beyond doubt. */

import { Timed, type Wheel } from "../clock.ts";
import { ProxyError } from "../errors.ts";
import { ResponseHead, type BodyFraming } from "../http/head.ts";
import { latin1 } from "../http/latin1.ts";
import type { OutgoingRequest, ResponseSink, UpstreamStream } from "../http/stream.ts";
import type { Transport, TransportHandler } from "../listen/transport.ts";
import { ChunkedDecoder, chunkHead, type ChunkSink } from "./chunked.ts";
import { parseResponseHead, type HeadLimits } from "./head.ts";
import { NEED_MORE, releaseArrays, scanFailure } from "./scan.ts";
import { requestHeadText } from "./serialise.ts";
import { holdBytes, worthScanning } from "./server.ts";

/** Limits on what an endpoint may send as a head; Envoy's defaults. */
const responseLimits: HeadLimits = { headerBytes: 80 * 1024, headerCount: 200 };
/** Informational answers to one request; more is a flood. */
const INFORMATIONAL_LIMIT = 16;

/** Where a connection goes between requests, and what it tells when it is gone. */
export interface ConnectionOwner {
  onReusable(connection: ClientConnection): void;
  onGone(connection: ClientConnection): void;
  /** The connection's entry in the timer wheel is due. */
  onDue(connection: ClientConnection, nowMs: number): void;
}

/** One connection to an endpoint. */
export class ClientConnection extends Timed implements TransportHandler, UpstreamStream, ChunkSink {
  /** `10.0.0.7:8080`, for messages. */
  readonly address: string;
  /** Set by the owner: still in its list of idle connections. */
  isIdle = false;
  /** Monotonic ms of the end of the last exchange. */
  idleSinceMs = 0;
  /** How long this endpoint keeps idle connections, from its `Keep-Alive` field; 0: it did not say. */
  keepAliveMs = 0;
  private readonly transport: Transport;
  private readonly owner: ConnectionOwner;
  private readonly wheel: Wheel;
  private sink: ResponseSink | null = null;
  private requests = 0;
  private pending: Buffer | null = null;
  private head: ResponseHead | null = null;
  private inBody = false;
  private framing: BodyFraming = "none";
  private bodyLeft = 0;
  private decoder: ChunkedDecoder | null = null;
  private keepAlive = true;
  private silent = true;
  private informational = 0;
  private endpointEnded = false;
  private isPaused = false;

  private method = "GET";
  private requestFraming: BodyFraming = "none";
  private requestDone = true;
  private held = "";

  constructor(transport: Transport, address: string, owner: ConnectionOwner, wheel: Wheel) {
    super();
    this.transport = transport;
    this.address = address;
    this.owner = owner;
    this.wheel = wheel;
    transport.handler = this;
    transport.resume();
  }

  /** True when an earlier request used this connection: its endpoint may be closing it at this moment. */
  get isReused(): boolean {
    return this.requests > 1;
  }

  /** An HTTP/1.1 endpoint has no word for that. */
  readonly mayRefuse = false;

  /** True when a request can be sent now. */
  get isUsable(): boolean {
    return !this.transport.isClosed && !this.endpointEnded;
  }

  // === impl UpstreamStream ===

  send(sink: ResponseSink, request: OutgoingRequest): void {
    const { req } = request;
    this.isIdle = false;
    this.sink = sink;
    this.requests++;
    this.method = req.method;
    this.requestFraming = req.framing;
    this.requestDone = req.framing === "none";
    this.silent = true;
    this.informational = 0;
    this.inBody = false;
    this.held += requestHeadText(request);
    if (this.requestDone) this.flush();
  }

  write(chunk: Buffer): boolean {
    const chunked = this.requestFraming === "chunked";
    if (chunk.length === 0) return true;
    if (chunked) this.held += chunkHead(chunk.length);
    if (this.held.length + chunk.length <= holdBytes) {
      this.held += latin1(chunk, 0, chunk.length);
      if (chunked) this.held += "\r\n";
    } else {
      const before = this.held;
      this.held = "";
      this.transport.writeParts(before, chunk, chunked ? "\r\n" : "");
    }
    return !this.transport.needsDrain;
  }

  end(trailers: string): void {
    if (this.requestFraming === "chunked") this.held += `0\r\n${trailers}\r\n`;
    this.requestDone = true;
    this.flush();
  }

  flush(): void {
    if (this.held === "") return;
    const text = this.held;
    this.held = "";
    this.transport.write(text);
  }

  /** With a reset: an end alone may mean that we only have nothing more to say, and the endpoint would go on. */
  cancel(): void {
    this.sink = null;
    this.transport.reset();
  }

  pause(): void {
    this.isPaused = true;
    this.transport.pause();
  }

  resume(): void {
    if (!this.isPaused) return;
    this.isPaused = false;
    this.transport.resume();
  }

  /** Closes an idle connection. */
  close(): void {
    this.transport.destroy();
  }

  // === impl TransportHandler ===

  onData(chunk: Buffer): void {
    // CVE-2026-48931: bytes on an idle connection would become the next caller's answer
    if (this.sink === null) return this.transport.destroy();
    this.silent = false;
    const pending = this.pending;
    if (pending === null) return this.consume(chunk);
    const all = Buffer.concat([pending, chunk]);
    this.pending = null;
    if (
      all.length <= responseLimits.headerBytes &&
      !worthScanning(chunk, pending[pending.length - 1] === 13)
    ) {
      this.pending = all;
      return;
    }
    this.consume(all);
  }

  onEnd(): void {
    this.endpointEnded = true;
    if (this.sink === null) return this.transport.destroy();
    if (this.inBody && this.framing === "until-close") return this.complete("");
    this.fail(this.lost("closed the connection"));
  }

  onClose(error: Error | null): void {
    this.wheel.disarm(this);
    if (this.sink !== null) {
      const code = (error as NodeJS.ErrnoException | null)?.code;
      this.fail(
        this.lost(
          code === "ECONNRESET"
            ? "reset the connection"
            : `closed the connection${error === null ? "" : ` (${error.message})`}`,
        ),
      );
    }
    this.owner.onGone(this);
  }

  onDrain(): void {
    this.sink?.onUpstreamReady();
  }

  override onDue(nowMs: number): void {
    this.owner.onDue(this, nowMs);
  }

  private lost(how: string): ProxyError {
    const when = this.inBody
      ? "in the middle of its answer"
      : this.silent
        ? "before an answer"
        : "in the middle of the head of its answer";
    return new ProxyError("upstream-reset", `${this.address} ${how} ${when}`);
  }

  private fail(error: ProxyError): void {
    const sink = this.sink;
    this.sink = null;
    this.transport.destroy();
    sink?.onFailure(error, this.silent);
  }

  // === reading ===

  private consume(buf: Buffer): void {
    let at = 0;
    while (at < buf.length && this.sink !== null) {
      const next = this.inBody ? this.readBody(buf, at) : this.readHead(buf, at);
      if (next < 0) break;
      at = next;
    }
    this.sink?.onTurnEnd();
  }

  private readHead(buf: Buffer, at: number): number {
    const head = (this.head ??= new ResponseHead());
    const after = parseResponseHead(buf, at, buf.length, head, this.method, responseLimits);
    if (after === NEED_MORE) {
      this.pending = Buffer.from(buf.subarray(at));
      return -1;
    }
    if (after < 0) {
      this.head = null;
      this.fail(
        new ProxyError(
          "upstream-invalid",
          `${this.address} sent an invalid answer: ${scanFailure}`,
        ),
      );
      return -1;
    }
    this.head = null;
    if (head.status < 200) return this.readInformational(head, after);
    this.inBody = true;
    this.framing = head.framing;
    this.keepAlive = head.keepAlive;
    this.keepAliveMs = head.keepAliveMs;
    this.bodyLeft = head.framing === "length" ? head.contentLength : 0;
    this.decoder = head.framing === "chunked" ? new ChunkedDecoder() : null;
    const sink = this.sink!;
    sink.onHead(head);
    if (
      this.sink === sink &&
      (head.framing === "none" || (head.framing === "length" && this.bodyLeft === 0))
    )
      this.complete("", after < buf.length);
    return after;
  }

  private readInformational(head: ResponseHead, after: number): number {
    if (head.status === 101) {
      this.fail(
        new ProxyError(
          "upstream-invalid",
          `${this.address} switched protocols without being asked`,
        ),
      );
      return -1;
    }
    if (++this.informational > INFORMATIONAL_LIMIT) {
      this.fail(
        new ProxyError(
          "upstream-invalid",
          `${this.address} sent more than ${INFORMATIONAL_LIMIT} informational answers`,
        ),
      );
      return -1;
    }
    this.sink!.onInformational(head);
    releaseArrays(head.headers);
    return after;
  }

  private readBody(buf: Buffer, at: number): number {
    if (this.decoder !== null) {
      const after = this.decoder.feed(buf, at, buf.length, this);
      if (after < 0) {
        this.fail(
          new ProxyError(
            "upstream-invalid",
            `${this.address} sent a malformed chunked body: ${scanFailure}`,
          ),
        );
        return -1;
      }
      if (this.sink !== null && this.decoder.isDone)
        this.complete(this.decoder.trailers, after < buf.length);
      return after;
    }
    if (this.framing === "until-close") {
      this.sink!.onResponseData(at === 0 ? buf : buf.subarray(at));
      return buf.length;
    }
    const end = Math.min(buf.length, at + this.bodyLeft);
    this.bodyLeft -= end - at;
    this.sink!.onResponseData(buf.subarray(at, end));
    if (this.bodyLeft === 0 && this.sink !== null) this.complete("", end < buf.length);
    return end;
  }

  onChunk(buf: Buffer, start: number, end: number): void {
    this.sink?.onResponseData(buf.subarray(start, end));
  }

  /** @param leftOver bytes follow that nobody asked for: the answer counts, the connection is over */
  private complete(trailers: string, leftOver = false): void {
    const sink = this.sink!;
    this.sink = null;
    this.inBody = false;
    this.decoder = null;
    // an idle connection must be read from, or its end would go unseen
    this.resume();
    if (this.keepAlive && this.requestDone && !leftOver && this.isUsable)
      this.owner.onReusable(this);
    else this.transport.destroy();
    sink.onResponseEnd(trailers);
  }
}
