/** The endpoint's side of HTTP/2 (RFC 9113): many requests on one connection. */

import type { Wheel } from "../clock.ts";
import { ProxyError } from "../errors.ts";
import { ResponseHead } from "../http/head.ts";
import type { OutgoingRequest } from "../http/stream.ts";
import type { HeadLimits } from "../http1/head.ts";
import { releaseArrays } from "../http1/scan.ts";
import type { Transport } from "../listen/transport.ts";
import { ClientStream } from "./client-stream.ts";
import { Http2Connection } from "./connection.ts";
import { boundOfFields, boundOfLines, writeFields, writeLines } from "./field-writer.ts";
import { threadBudget } from "./flow.ts";
import { clientPreface, ErrorCode, errorName, Flag, maxStreamId } from "./frames.ts";
import { Setting, settingsFrame } from "./frames.ts";
import { responseReader, trailerReader } from "./message-reader.ts";

/** Limits on what an endpoint may send as a head, as for HTTP/1.1. */
const responseLimits: HeadLimits = { headerBytes: 80 * 1024, headerCount: 200 };
/** Requests at once on one connection, whatever the endpoint would allow, and before it has said. */
const MAX_STREAMS = 256;
const UNTOLD_STREAMS = 100;
/** What we grant a stream from the start. */
const STREAM_WINDOW = 256 * 1024;
/** How long an endpoint has for reading why it is left, before the connection is cut. */
const LINGER_MS = 2000;
/** An endpoint resets only what we opened: one that refuses many requests is busy, and no attacker. */
const resets = { atOnce: Infinity, perSecond: 0 };

/** Who keeps connections. */
export interface SessionOwner {
  /** The endpoint's first SETTINGS have come: it does speak HTTP/2. */
  onSettled(session: ClientSession): void;
  /** A request has ended: there is room for one more. */
  onRoom(session: ClientSession): void;
  /** No request will be accepted any more; those that run may end. */
  onClosing(session: ClientSession): void;
  onGone(session: ClientSession): void;
  /** The endpoint broke the protocol, and has been told the code; `streamId` 0: the connection is over. */
  onError(session: ClientSession, code: number, streamId: number, why: string): void;
  onDue(session: ClientSession, nowMs: number): void;
}

/** One connection to an endpoint. */
export class ClientSession extends Http2Connection {
  readonly address: string;
  /** Monotonic ms since when no request runs. */
  idleSinceMs = 0;
  private readonly owner: SessionOwner;
  private readonly wheel: Wheel;
  private readonly scheme: "http" | "https";
  private nextId = 1;
  private closing = false;

  constructor(
    transport: Transport,
    address: string,
    scheme: "http" | "https",
    owner: SessionOwner,
    wheel: Wheel,
  ) {
    super(transport, {
      budget: threadBudget,
      now: () => performance.now(),
      blockBytes: responseLimits.headerBytes,
      ownWindow: STREAM_WINDOW,
      resets,
    });
    this.address = address;
    this.scheme = scheme;
    this.owner = owner;
    this.wheel = wheel;
    transport.handler = this;
    this.output.frame(clientPreface);
    this.output.frame(
      settingsFrame([
        [Setting.enablePush, 0],
        [Setting.initialWindowSize, STREAM_WINDOW],
        [Setting.maxHeaderListSize, responseLimits.headerBytes],
      ]),
    );
    transport.resume();
  }

  /** Requests running. */
  get active(): number {
    return this.streams.size;
  }

  /** True when another request can start now. */
  get hasRoom(): boolean {
    return (
      !this.closing &&
      !this.isOver &&
      this.streams.size < Math.min(this.isOpen ? this.peerStreams : UNTOLD_STREAMS, MAX_STREAMS) &&
      this.nextId < maxStreamId
    );
  }

  /** The endpoint takes extended CONNECT (RFC 8441); null: it has not said anything yet. */
  get connects(): boolean | null {
    return this.isOpen ? this.peerConnects : null;
  }

  /** A stream for one request. Only when {@link hasRoom}. */
  open(): ClientStream {
    const id = this.nextId;
    this.nextId += 2;
    const stream = new ClientStream(this, id);
    this.streams.set(id, stream);
    return stream;
  }

  /** Lets the running requests end, then closes. */
  close(): void {
    if (this.isOver) return;
    this.stopOpening();
    if (this.streams.size === 0) this.shut();
  }

  override onDue(nowMs: number): void {
    if (this.isOver) this.transport.destroy();
    else this.owner.onDue(this, nowMs);
  }

  /** Called by the stream. */
  writeRequest(stream: ClientStream, request: OutgoingRequest): void {
    const { encoder, output } = this;
    const { req, fields, target, authority, drop, extra } = request;
    const buf = output.beginBlock(
      boundOfFields(fields) +
        boundOfLines(extra) +
        target.length +
        authority.length +
        req.method.length +
        160,
    );
    let at = encoder.begin(buf, output.blockAt);
    at = encoder.field(buf, at, ":method", stream.isTunnel ? "CONNECT" : req.method);
    if (stream.isTunnel) at = encoder.field(buf, at, ":protocol", "websocket");
    at = encoder.field(buf, at, ":scheme", this.scheme);
    at = encoder.field(buf, at, ":path", target);
    at = encoder.field(buf, at, ":authority", authority);
    at = writeFields(encoder, buf, at, fields, drop);
    if (extra !== "") at = writeLines(encoder, buf, at, extra);
    if (req.framing === "length")
      at = encoder.field(buf, at, "content-length", String(req.contentLength));
    output.endBlock(stream.id, at, stream.localEnded ? Flag.endStream : 0);
    this.guard.earn(4);
    // an end that comes later is a DATA frame of its own, as gRPC has it ("Requests": EOS), and servers of grpc-go wait
    // for ever without it
    output.seal();
  }

  // === impl TransportHandler ===

  override onData(chunk: Buffer): void {
    if (!this.isOver) this.readFrames(chunk);
  }

  override onEnd(): void {
    this.transport.destroy();
  }

  override onClose(error: Error | null): void {
    this.wheel.disarm(this);
    const how = (error as NodeJS.ErrnoException | null)?.code === "ECONNRESET" ? "reset" : "closed";
    this.end(ErrorCode.cancel, new Error(`${this.address} ${how} the connection`));
    this.owner.onGone(this);
  }

  // === impl Http2Connection ===

  protected override get lastStreamId(): number {
    return 0;
  }

  protected override get maxPush(): number {
    return 0;
  }

  /** RFC 9113 section 5.1: nothing but a push, which is off, could open it. */
  protected override isIdle(streamId: number): boolean {
    return (streamId & 1) === 0 || streamId >= this.nextId;
  }

  protected override onBlock(
    streamId: number,
    isLast: boolean,
    isBad: boolean,
    buf: Buffer,
    start: number,
    end: number,
  ): void {
    const stream = this.streams.get(streamId) as ClientStream | undefined;
    if (stream === undefined) {
      if (this.isIdle(streamId))
        return this.fail(ErrorCode.protocolError, `HEADERS on stream ${streamId}, never opened`);
      if (this.wasReset(streamId)) return void this.skip(buf, start, end);
      return this.fail(ErrorCode.streamClosed, `HEADERS on stream ${streamId}, which has ended`);
    }
    this.touch(stream);
    if (stream.hasHead) return this.onTrailers(stream, isLast, buf, start, end);
    const head = new ResponseHead();
    responseReader.begin(head, responseLimits);
    if (!this.decode(buf, start, end, responseReader)) return releaseArrays(head.headers);
    const verdict = responseReader.finish(isLast, stream.method);
    if (isBad) stream.malformed("a stream that depends on itself");
    else if (verdict !== "ok") stream.malformed(responseReader.failure);
    else return stream.onAnswer(head, isLast);
    releaseArrays(head.headers);
  }

  private onTrailers(
    stream: ClientStream,
    isLast: boolean,
    buf: Buffer,
    start: number,
    end: number,
  ): void {
    trailerReader.begin();
    if (!this.decode(buf, start, end, trailerReader)) return;
    const trailers = trailerReader.finish();
    if (trailers === null) stream.malformed(trailerReader.failure);
    else if (!isLast) stream.malformed("a second head");
    else stream.receiveEnd(trailers);
  }

  protected override onPeerReady(): void {
    this.owner.onSettled(this);
    for (const stream of this.streams.values()) (stream as ClientStream).onSettled();
  }

  protected override onPingAck(): void {
    // weft asks endpoints nothing
  }

  protected override onPriorityUpdate(): void {
    this.fail(ErrorCode.protocolError, "a PRIORITY_UPDATE from a server");
  }

  protected override onPeerGoaway(lastStreamId: number, code: number): void {
    this.stopOpening();
    const why = `${this.address} said goodbye (${errorName(code)}) before it took the request`;
    // nothing of the request has been processed: it may go elsewhere, whatever it is
    for (const stream of this.streams.values())
      if (stream.id > lastStreamId)
        this.abandon(stream, new ProxyError("upstream-reset", why, { retryable: true }));
    if (this.streams.size === 0) this.shut();
  }

  protected override onStreamClosed(): void {
    if (this.isOver) return;
    if (!this.closing) this.owner.onRoom(this);
    else if (this.streams.size === 0) this.shut();
  }

  protected override onError(code: number, streamId: number, why: string): void {
    this.owner.onError(this, code, streamId, why);
  }

  protected override causeOf(why: string): Error {
    return new ProxyError("upstream-invalid", `${this.address} broke HTTP/2: ${why}`);
  }

  protected override onOver(): void {
    this.stopOpening();
    this.linger();
  }

  private stopOpening(): void {
    if (this.closing) return;
    this.closing = true;
    this.owner.onClosing(this);
  }

  /** No request runs and none will come. */
  private shut(): void {
    if (this.isOver) return;
    this.output.goaway(0, ErrorCode.noError, "");
    this.output.flush();
    this.end(ErrorCode.noError, null);
    this.linger();
  }

  /** FIN after what is queued: over TLS a cut at once would lose the GOAWAY. */
  private linger(): void {
    this.transport.end();
    this.transport.resume();
    this.wheel.arm(this, this.now() + LINGER_MS);
  }
}
