/** The endpoint's side of HTTP/2 (RFC 9113): many requests on one connection. */

import { Timed, type Wheel } from "../clock.ts";
import { ProxyError } from "../errors.ts";
import { ResponseHead } from "../http/head.ts";
import type { OutgoingRequest } from "../http/stream.ts";
import type { HeadLimits } from "../http1/head.ts";
import { releaseArrays } from "../http1/scan.ts";
import type { Transport, TransportHandler } from "../listen/transport.ts";
import { boundOfFields, boundOfLines, writeFields, writeLines } from "./field-writer.ts";
import { ClosedStreams } from "./closed-streams.ts";
import { ClientStream, STREAM_WINDOW } from "./client-stream.ts";
import { connectionWindowMax, ReceiveWindow, threadBudget } from "./flow.ts";
import {
  clientPreface,
  defaultFrameBytes,
  defaultWindowBytes,
  ErrorCode,
  errorName,
  Flag,
  frameHeadBytes,
  FrameReader,
  type FrameSink,
  FrameType,
  maxStreamId,
  maxWindowBytes,
  readUint31,
  readUint32,
  Setting,
  settingsFrame,
  typeWith,
  writeFrameHead,
  writeUint32,
} from "./frames.ts";
import { HpackDecoder, hpackFailure } from "./hpack-decoder.ts";
import { HpackEncoder, trailerPlace } from "./hpack-encoder.ts";
import { responseReader, trailerReader } from "./message-reader.ts";
import { FrameOutput } from "./output.ts";

/** Limits on what an endpoint may send as a head, as for HTTP/1.1. */
const responseLimits: HeadLimits = { headerBytes: 80 * 1024, headerCount: 200 };
/** Requests at once on one connection, whatever the endpoint would allow. */
const MAX_STREAMS = 256;
/** Frames that carry nothing, in a row and within a second; more is a flood. */
const EMPTY_LIMIT = 1000;
/** Settings in one frame (CVE-2020-11080; nghttp2: 32). */
const SETTINGS_MAX = 32;
/** How long an endpoint has for reading why it is left, before the connection is cut. */
const LINGER_MS = 2000;
/** CONTINUATION frames of one head: with frames of a sensible size its limit in bytes comes first. */
const CONTINUATION_LIMIT = 64;

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
export class ClientSession extends Timed implements TransportHandler, FrameSink {
  readonly address: string;
  readonly output: FrameOutput;
  readonly encoder = new HpackEncoder();
  /** Monotonic ms since when no request runs. */
  idleSinceMs = 0;
  /** Largest payload that the endpoint takes. */
  maxFrame = defaultFrameBytes;
  /** What we may still send on the connection. */
  sendWindow = defaultWindowBytes;
  initialSendWindow = defaultWindowBytes;
  private readonly transport: Transport;
  private readonly owner: SessionOwner;
  private readonly wheel: Wheel;
  private readonly scheme: "http" | "https";
  private readonly reader = new FrameReader();
  private readonly decoder = new HpackDecoder();
  private readonly received = new ReceiveWindow(threadBudget, connectionWindowMax);
  private readonly streams = new Map<number, ClientStream>();
  private readonly closed = new ClosedStreams();
  private nextId = 1;
  private maxStreams = 100;
  private settled = false;
  private closing = false;
  private dead = false;
  /** Frames in a row that brought nothing; zero again when bytes move in either direction. */
  empty = 0;
  private emptySinceMs = 0;
  /** A header block that goes on in CONTINUATION frames. */
  private block: Buffer | null = null;
  private blockStream = 0;
  private blockFlags = 0;
  private blockParts = 0;

  constructor(
    transport: Transport,
    address: string,
    scheme: "http" | "https",
    owner: SessionOwner,
    wheel: Wheel,
  ) {
    super();
    this.transport = transport;
    this.address = address;
    this.scheme = scheme;
    this.owner = owner;
    this.wheel = wheel;
    this.output = new FrameOutput(transport);
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
      !this.dead &&
      this.streams.size < Math.min(this.maxStreams, MAX_STREAMS) &&
      this.nextId < maxStreamId
    );
  }

  /** A stream for one request. Only when {@link hasRoom}. */
  open(): ClientStream {
    const id = this.nextId;
    this.nextId += 2;
    const stream = new ClientStream(this, id, this.initialSendWindow);
    this.streams.set(id, stream);
    return stream;
  }

  /** Lets the running requests end, then closes. */
  close(): void {
    if (this.dead) return;
    this.stopOpening();
    if (this.streams.size === 0) this.shut(ErrorCode.noError);
  }

  override onDue(nowMs: number): void {
    if (this.dead) this.transport.destroy();
    else this.owner.onDue(this, nowMs);
  }

  // === called by the streams ===

  writeRequest(stream: ClientStream, request: OutgoingRequest, ends: boolean): void {
    const { encoder, output } = this;
    const { req, fields, target, authority, drop, extra } = request;
    const bound =
      frameHeadBytes +
      boundOfFields(fields) +
      boundOfLines(extra) +
      target.length +
      authority.length +
      req.method.length +
      128;
    const inPlace = bound <= defaultFrameBytes;
    const buf = inPlace ? output.room(bound) : Buffer.allocUnsafe(bound);
    const start = inPlace ? output.at : 0;
    let at = encoder.begin(buf, start + frameHeadBytes);
    at = encoder.field(buf, at, ":method", req.method);
    at = encoder.field(buf, at, ":scheme", this.scheme);
    at = encoder.field(buf, at, ":path", target);
    at = encoder.field(buf, at, ":authority", authority);
    at = writeFields(encoder, buf, at, fields, drop);
    if (extra !== "") at = writeLines(encoder, buf, at, extra);
    if (req.framing === "length")
      at = encoder.field(buf, at, "content-length", String(req.contentLength));
    const flags = ends ? Flag.endStream : 0;
    const length = at - start - frameHeadBytes;
    if (inPlace) {
      writeFrameHead(
        buf,
        start,
        length,
        typeWith(FrameType.headers, flags | Flag.endHeaders),
        stream.id,
      );
      // of no stream: an end that comes later is a DATA frame of its own, as gRPC has it ("Requests": EOS), and servers
      // of grpc-go wait for ever without it
      output.commit(start, at, 0);
    } else this.writeSplit(buf.subarray(frameHeadBytes, at), stream.id, flags);
  }

  /** A block too large for one frame (RFC 9113 section 6.10). */
  private writeSplit(block: Buffer, id: number, flags: number): void {
    const parts = Math.ceil(block.length / defaultFrameBytes);
    const bytes = Buffer.allocUnsafeSlow(block.length + parts * frameHeadBytes);
    let at = 0;
    for (let part = 0; part < parts; part++) {
      const from = part * defaultFrameBytes;
      const to = Math.min(from + defaultFrameBytes, block.length);
      const last = part === parts - 1 ? Flag.endHeaders : 0;
      const type = part === 0 ? FrameType.headers : FrameType.continuation;
      at = writeFrameHead(
        bytes,
        at,
        to - from,
        typeWith(type, (part === 0 ? flags : 0) | last),
        id,
      );
      at += block.copy(bytes, at, from, to);
    }
    this.output.large(bytes);
  }

  writeTrailers(stream: ClientStream, trailers: string): void {
    const { encoder, output } = this;
    const bound = frameHeadBytes + boundOfLines(trailers) + 16;
    const buf = output.room(bound);
    const start = output.at;
    const at = writeLines(
      encoder,
      buf,
      encoder.begin(buf, start + frameHeadBytes, trailerPlace),
      trailers,
    );
    const flags = typeWith(FrameType.headers, Flag.endStream | Flag.endHeaders);
    writeFrameHead(buf, start, at - start - frameHeadBytes, flags, stream.id);
    output.commit(start, at, stream.id);
  }

  /** @returns whether the transport takes more */
  get isReady(): boolean {
    return !this.transport.needsDrain;
  }

  /** A stream error of the endpoint's. */
  refuse(stream: ClientStream, code: number, why: string): void {
    this.owner.onError(this, code, stream.id, why);
    this.reset(stream, code);
  }

  reset(stream: ClientStream, code: number): void {
    if (!this.dead) this.output.short(typeWith(FrameType.rstStream, 0), stream.id, code);
    this.closed.noteReset(stream.id);
    this.forget(stream);
  }

  forget(stream: ClientStream): void {
    stream.received.release();
    if (!this.streams.delete(stream.id) || this.dead) return;
    if (this.closing) {
      if (this.streams.size === 0) this.shut(ErrorCode.noError);
    } else this.owner.onRoom(this);
  }

  /** Body bytes of an answer have been passed on. */
  consumed(stream: ClientStream, bytes: number): void {
    const connection = this.received.consume(bytes);
    if (connection > 0) this.output.short(typeWith(FrameType.windowUpdate, 0), 0, connection);
    if (stream.isOver) return;
    const granted = stream.received.consume(bytes);
    if (granted > 0) this.output.short(typeWith(FrameType.windowUpdate, 0), stream.id, granted);
  }

  // === impl TransportHandler ===

  onData(chunk: Buffer): void {
    if (!this.dead) this.reader.read(chunk, this);
  }

  onEnd(): void {
    this.transport.destroy();
  }

  onClose(error: Error | null): void {
    this.wheel.disarm(this);
    this.dead = true;
    this.received.release();
    const how = (error as NodeJS.ErrnoException | null)?.code === "ECONNRESET" ? "reset" : "closed";
    for (const stream of this.streams.values())
      stream.lost(`${this.address} ${how} the connection`);
    this.streams.clear();
    this.owner.onGone(this);
  }

  onDrain(): void {
    for (const stream of this.streams.values()) stream.pump();
  }

  // === impl FrameSink ===

  onOversized(_type: number, _streamId: number, length: number): void {
    this.fail(ErrorCode.frameSizeError, `a frame of ${length} bytes`);
  }

  onFrame(
    type: number,
    flags: number,
    id: number,
    buf: Buffer,
    start: number,
    end: number,
  ): boolean {
    if (this.block !== null && (type !== FrameType.continuation || id !== this.blockStream))
      return this.fail(ErrorCode.protocolError, "a header block interrupted by another frame");
    if (!this.settled && (type !== FrameType.settings || (flags & Flag.ack) !== 0))
      return this.fail(ErrorCode.protocolError, "something else than SETTINGS first");
    switch (type) {
      case FrameType.data:
        return this.onDataFrame(flags, id, buf, start, end);
      case FrameType.headers:
        return this.onHeaders(flags, id, buf, start, end);
      case FrameType.continuation:
        return this.onContinuation(flags, id, buf, start, end);
      case FrameType.rstStream:
        if (end - start !== 4)
          return this.fail(ErrorCode.frameSizeError, "an RST_STREAM that is not of four bytes");
        if (this.isIdle(id))
          return this.fail(ErrorCode.protocolError, `RST_STREAM of ${id}, which was never opened`);
        if (!this.streams.has(id)) return this.counts("an endless row of RST_STREAM");
        this.streams.get(id)!.wasReset(readUint32(buf, start));
        return !this.dead;
      case FrameType.settings:
        return this.onSettings(flags, id, buf, start, end);
      case FrameType.ping:
        return this.onPing(flags, id, buf, start, end);
      case FrameType.goaway:
        return this.onGoaway(id, buf, start, end);
      case FrameType.windowUpdate:
        return this.onWindowUpdate(id, buf, start, end);
      case FrameType.pushPromise:
        return this.fail(ErrorCode.protocolError, "a PUSH_PROMISE although push is off");
      case FrameType.priority:
        return this.onPriority(id, end - start);
      case FrameType.priorityUpdate:
        return this.fail(ErrorCode.protocolError, "a PRIORITY_UPDATE from a server");
      default:
        return this.counts("an endless row of frames that say nothing");
    }
  }

  /** RFC 9113 section 5.1: nothing but a push, which is off, could open it. */
  private isIdle(id: number): boolean {
    return (id & 1) === 0 || id >= this.nextId;
  }

  private onPriority(id: number, length: number): boolean {
    if (id === 0) return this.fail(ErrorCode.protocolError, "PRIORITY on stream 0");
    if (length !== 5) {
      const why = "a PRIORITY that is not of five bytes";
      const stream = this.streams.get(id);
      if (stream === undefined) return this.fail(ErrorCode.frameSizeError, why);
      stream.malformed(why, ErrorCode.frameSizeError);
    }
    return !this.dead && this.counts("an endless row of PRIORITY");
  }

  /** True until too many frames in a row bring nothing. */
  private counts(what: string): boolean {
    if (++this.empty <= EMPTY_LIMIT) return true;
    // keep-alive PINGs over hours are no flood
    const nowMs = performance.now();
    const isFlood = nowMs - this.emptySinceMs < 1000;
    this.emptySinceMs = nowMs;
    this.empty = 0;
    return !isFlood || this.fail(ErrorCode.enhanceYourCalm, what);
  }

  private onDataFrame(flags: number, id: number, buf: Buffer, start: number, end: number): boolean {
    const length = end - start;
    if (id === 0) return this.fail(ErrorCode.protocolError, "DATA on stream 0");
    if (!this.received.receive(length))
      return this.fail(ErrorCode.flowControlError, "more bytes than the connection's window");
    let to = end;
    if ((flags & Flag.padded) !== 0) {
      const pad = length > 0 ? buf[start]! : length;
      if (pad >= length) return this.fail(ErrorCode.protocolError, "padding longer than its frame");
      start++;
      to = end - pad;
    }
    const stream = this.streams.get(id);
    if (stream === undefined) {
      if (this.isIdle(id))
        return this.fail(ErrorCode.protocolError, "DATA on a stream that was never opened");
      const granted = this.received.consume(length);
      if (granted > 0) this.output.short(typeWith(FrameType.windowUpdate, 0), 0, granted);
      if (this.closed.wasReset(id)) return true;
      this.closed.noteReset(id);
      this.output.short(typeWith(FrameType.rstStream, 0), id, ErrorCode.streamClosed);
      this.owner.onError(this, ErrorCode.streamClosed, id, "DATA on a stream that has ended");
      return true;
    }
    const ends = (flags & Flag.endStream) !== 0;
    if (to > start || ends) this.empty = 0;
    else if (!this.counts("an endless row of empty DATA frames")) return false;
    stream.onBody(buf, start, to, length, ends);
    return !this.dead;
  }

  private onHeaders(flags: number, id: number, buf: Buffer, start: number, end: number): boolean {
    if (this.isIdle(id))
      return this.fail(ErrorCode.protocolError, `HEADERS on stream ${id}, which is not open`);
    let to = end;
    const isPadded = (flags & Flag.padded) !== 0;
    const hasPriority = (flags & Flag.priority) !== 0;
    if (end - start < (isPadded ? 1 : 0) + (hasPriority ? 5 : 0))
      return this.fail(ErrorCode.frameSizeError, "HEADERS too short for their flags");
    if (isPadded) to = end - buf[start++]!;
    if (hasPriority) start += 5;
    if (start > to) return this.fail(ErrorCode.protocolError, "padding longer than its frame");
    if ((flags & Flag.endHeaders) !== 0) return this.readBlock(id, flags, buf, start, to);
    this.block = Buffer.from(buf.subarray(start, to));
    this.blockStream = id;
    this.blockFlags = flags;
    this.blockParts = 0;
    return true;
  }

  private onContinuation(
    flags: number,
    id: number,
    buf: Buffer,
    start: number,
    end: number,
  ): boolean {
    if (this.block === null)
      return this.fail(ErrorCode.protocolError, "a CONTINUATION without HEADERS");
    if (++this.blockParts > CONTINUATION_LIMIT)
      return this.fail(ErrorCode.enhanceYourCalm, "a head in too many CONTINUATION frames");
    const block = Buffer.concat([this.block, buf.subarray(start, end)]);
    if (block.length > responseLimits.headerBytes)
      return this.fail(ErrorCode.enhanceYourCalm, "a head that does not end");
    this.block = block;
    if ((flags & Flag.endHeaders) === 0) return true;
    this.block = null;
    return this.readBlock(id, this.blockFlags, block, 0, block.length);
  }

  private readBlock(id: number, flags: number, buf: Buffer, start: number, end: number): boolean {
    this.empty = 0;
    const stream = this.streams.get(id);
    const ends = (flags & Flag.endStream) !== 0;
    if (stream !== undefined && stream.hasHead) {
      trailerReader.begin();
      if (!this.decoder.decode(buf, start, end, trailerReader))
        return this.fail(ErrorCode.compressionError, hpackFailure);
      const lines = trailerReader.finish();
      if (lines === null) stream.malformed(trailerReader.failure);
      else if (!ends) stream.malformed("a second head");
      else stream.onTrailers(lines);
      return !this.dead;
    }
    // a block of a stream that is gone is decoded all the same: the table must stay in step
    if (stream === undefined && !this.closed.wasReset(id))
      return this.fail(ErrorCode.streamClosed, `HEADERS on stream ${id}, which has ended`);
    const head = new ResponseHead();
    responseReader.begin(head, responseLimits);
    if (!this.decoder.decode(buf, start, end, responseReader))
      return this.fail(ErrorCode.compressionError, hpackFailure);
    const verdict = responseReader.finish(ends, stream?.method ?? "GET");
    if (stream === undefined) releaseArrays(head.headers);
    else if (verdict !== "ok") stream.malformed(responseReader.failure);
    else stream.onAnswer(head, ends);
    return !this.dead;
  }

  private onSettings(flags: number, id: number, buf: Buffer, start: number, end: number): boolean {
    if (id !== 0) return this.fail(ErrorCode.protocolError, "SETTINGS on a stream");
    if ((flags & Flag.ack) !== 0)
      return end === start
        ? this.counts("an endless row of SETTINGS")
        : this.fail(ErrorCode.frameSizeError, "an acknowledgement with settings");
    if ((end - start) % 6 !== 0)
      return this.fail(ErrorCode.frameSizeError, "SETTINGS of a broken length");
    if (end - start > SETTINGS_MAX * 6)
      return this.fail(ErrorCode.enhanceYourCalm, `more than ${SETTINGS_MAX} settings in a frame`);
    if (this.settled && !this.counts("an endless row of SETTINGS")) return false;
    for (let at = start; at < end; at += 6) {
      const value = readUint32(buf, at + 2);
      switch ((buf[at]! << 8) | buf[at + 1]!) {
        case Setting.headerTableSize:
          this.encoder.setLimit(value);
          break;
        case Setting.enablePush:
          if (value !== 0) return this.fail(ErrorCode.protocolError, "a server that enables push");
          break;
        case Setting.maxConcurrentStreams:
          this.maxStreams = value;
          break;
        case Setting.initialWindowSize: {
          if (value > maxWindowBytes)
            return this.fail(ErrorCode.flowControlError, "a window above 2^31-1");
          const change = value - this.initialSendWindow;
          this.initialSendWindow = value;
          for (const stream of this.streams.values()) {
            stream.sendWindow += change;
            if (stream.sendWindow > maxWindowBytes)
              return this.fail(ErrorCode.flowControlError, "a window above 2^31-1");
          }
          break;
        }
        case Setting.maxFrameSize:
          if (value < defaultFrameBytes || value > 0xffffff)
            return this.fail(ErrorCode.protocolError, "a frame size out of range");
          // larger frames would gain nothing: what we write comes in chunks of 64 KiB at most
          this.maxFrame = Math.min(value, 64 * 1024);
          break;
        case Setting.enableConnectProtocol:
        case Setting.noRfc7540Priorities:
          if (value > 1)
            return this.fail(ErrorCode.protocolError, "a setting that is neither 0 nor 1");
          break;
      }
    }
    this.output.frame(ackSettings);
    if (!this.settled) {
      this.settled = true;
      const granted = this.received.grant();
      if (granted > 0) this.output.short(typeWith(FrameType.windowUpdate, 0), 0, granted);
      this.owner.onSettled(this);
    }
    for (const stream of this.streams.values()) stream.pump();
    return !this.dead;
  }

  private onPing(flags: number, id: number, buf: Buffer, start: number, end: number): boolean {
    if (id !== 0) return this.fail(ErrorCode.protocolError, "a PING on a stream");
    if (end - start !== 8)
      return this.fail(ErrorCode.frameSizeError, "a PING that is not of eight bytes");
    if (!this.counts("an endless row of PINGs")) return false;
    if ((flags & Flag.ack) !== 0) return true;
    const pong = Buffer.alloc(frameHeadBytes + 8);
    writeFrameHead(pong, 0, 8, typeWith(FrameType.ping, Flag.ack), 0);
    buf.copy(pong, frameHeadBytes, start, end);
    this.output.frame(pong);
    return true;
  }

  private onGoaway(id: number, buf: Buffer, start: number, end: number): boolean {
    if (id !== 0) return this.fail(ErrorCode.protocolError, "a GOAWAY on a stream");
    if (end - start < 8) return this.fail(ErrorCode.frameSizeError, "a GOAWAY that is too short");
    const lastId = readUint31(buf, start);
    const code = readUint32(buf, start + 4);
    this.stopOpening();
    for (const stream of this.streams.values())
      if (stream.id > lastId)
        stream.refused(
          `${this.address} said goodbye (${errorName(code)}) before it took the request`,
        );
    if (this.streams.size === 0) this.shut(ErrorCode.noError);
    return !this.dead;
  }

  private onWindowUpdate(id: number, buf: Buffer, start: number, end: number): boolean {
    if (end - start !== 4)
      return this.fail(ErrorCode.frameSizeError, "a WINDOW_UPDATE that is not of four bytes");
    if (!this.counts("an endless row of WINDOW_UPDATE")) return false;
    const increment = readUint31(buf, start);
    if (id === 0) {
      this.sendWindow += increment;
      if (increment === 0) return this.fail(ErrorCode.protocolError, "a WINDOW_UPDATE of nothing");
      if (this.sendWindow > maxWindowBytes)
        return this.fail(ErrorCode.flowControlError, "a window above 2^31-1");
      for (const stream of this.streams.values()) stream.pump();
      return true;
    }
    if (this.isIdle(id))
      return this.fail(ErrorCode.protocolError, `WINDOW_UPDATE of ${id}, which was never opened`);
    const stream = this.streams.get(id);
    if (stream === undefined) return true;
    stream.sendWindow += increment;
    if (increment === 0) stream.malformed("a WINDOW_UPDATE of nothing");
    else if (stream.sendWindow > maxWindowBytes)
      stream.malformed("a window above 2^31-1", ErrorCode.flowControlError);
    else stream.pump();
    return !this.dead;
  }

  /** The connection is over: every request on it fails. Always false. */
  private fail(code: number, why: string): boolean {
    if (this.dead) return false;
    this.dead = true;
    this.owner.onError(this, code, 0, why);
    this.stopOpening();
    for (const stream of this.streams.values())
      stream.broken(new ProxyError("upstream-invalid", `${this.address} broke HTTP/2: ${why}`));
    this.shut(code);
    return false;
  }

  private stopOpening(): void {
    if (this.closing) return;
    this.closing = true;
    this.owner.onClosing(this);
  }

  private shut(code: number): void {
    const goaway = Buffer.alloc(frameHeadBytes + 8);
    const at = writeFrameHead(goaway, 0, 8, typeWith(FrameType.goaway, 0), 0);
    writeUint32(goaway, writeUint32(goaway, at, 0), code);
    this.output.frame(goaway);
    this.output.flush();
    this.dead = true;
    // over TLS a cut at once would lose the GOAWAY
    this.transport.end();
    this.transport.resume();
    this.wheel.arm(this, performance.now() + LINGER_MS);
  }
}

const ackSettings = ((): Buffer => {
  const frame = Buffer.alloc(frameHeadBytes);
  writeFrameHead(frame, 0, 0, typeWith(FrameType.settings, Flag.ack), 0);
  return frame;
})();
