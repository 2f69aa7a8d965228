/** What both ends of an HTTP/2 connection do alike (RFC 9113 sections 4 to 6): order of frames, settings, windows, errors. */

import { Timed } from "../clock.ts";
import type { Transport, TransportHandler } from "../listen/transport.ts";
import {
  ErrorCode,
  Flag,
  FrameReader,
  FrameType,
  Setting,
  defaultFrameBytes,
  defaultWindowBytes,
  frameHeadBytes,
  maxWindowBytes,
  readUint31,
  readUint32,
  typeWith,
  writeFrameHead,
  writeUint32,
  type FrameSink,
} from "./frames.ts";
import { FloodGuard, ReceiveWindow, connectionWindowMax, type WindowBudget } from "./flow.ts";
import { HpackDecoder, hpackFailure, type LineSink } from "./hpack-decoder.ts";
import { HpackEncoder } from "./hpack-encoder.ts";
import { ClosedStreams } from "./closed-streams.ts";
import { HeaderBlock } from "./header-block.ts";
import { FrameOutput } from "./output.ts";
import { SendTurns } from "./send-turns.ts";
import type { Http2Stream } from "./stream.ts";

/** What one end of a connection is made with. */
export interface Http2Options {
  readonly budget: WindowBudget;
  /** Monotonic milliseconds. */
  now(): number;
  /** Largest block taken, as it is on the wire: beyond it a flood is assumed and the connection ends. */
  readonly blockBytes: number;
  /** SETTINGS_INITIAL_WINDOW_SIZE that this side announces. */
  readonly ownWindow: number;
}

/** Frames that carry no work, at once and lastingly (Envoy allows 1000 answers to such frames to wait). */
const IDLE_FRAMES = 1000;
const IDLE_FRAMES_PER_SECOND = 100;
/** Resets that the other side causes, at once and lastingly (CVE-2023-44487, CVE-2025-8671; nghttp2: 1000 and 33). */
const RESETS = 200;
const RESETS_PER_SECOND = 50;
/** Bytes without a taker that one connection may have waiting on its streams beyond its window. */
const LEND_MAX = 8 * 1024 * 1024;
/** Settings in one frame (CVE-2020-11080; nghttp2: 32). */
const SETTINGS_MAX = 32;

const SETTINGS_ACK = Buffer.from([0, 0, 0, FrameType.settings, Flag.ack, 0, 0, 0, 0]);
const WINDOW_UPDATE = typeWith(FrameType.windowUpdate, 0);
const RST_STREAM = typeWith(FrameType.rstStream, 0);
const HEADERS = typeWith(FrameType.headers, Flag.endHeaders);

const nowhere: LineSink = { onLine() {} };

/** One end of a connection. */
export abstract class Http2Connection extends Timed implements TransportHandler, FrameSink {
  readonly transport: Transport;
  readonly output: FrameOutput;
  readonly encoder = new HpackEncoder();
  readonly budget: WindowBudget;
  /** Initial window of streams that we send on: SETTINGS_INITIAL_WINDOW_SIZE of the other side. */
  peerWindow = defaultWindowBytes;
  /** Largest payload that the other side takes; more than 16 KiB would only make streams wait for each other. */
  readonly peerFrameBytes = defaultFrameBytes;
  readonly ownWindow: number;
  /** What the other side still takes on all streams together. */
  sendWindow = defaultWindowBytes;
  readonly guard: FloodGuard;
  readonly now: () => number;
  readonly streams = new Map<number, Http2Stream>();
  /** SETTINGS_MAX_CONCURRENT_STREAMS of the other side. */
  peerStreams = 0x7fffffff;
  /** SETTINGS_ENABLE_CONNECT_PROTOCOL of the other side. */
  peerConnects = false;
  /** The other side's first SETTINGS have arrived. */
  isOpen = false;
  /** A connection error has been sent, or the connection is gone: nothing is read or written any more. */
  isOver = false;

  private readonly reader = new FrameReader();
  private readonly decoder = new HpackDecoder();
  private readonly window: ReceiveWindow;
  private readonly resets: FloodGuard;
  /** Bytes that wait on streams and have been granted again. */
  private lent = 0;
  private readonly turns: SendTurns<Http2Stream>;
  private readonly closed = new ClosedStreams();
  private readonly block: HeaderBlock;
  /** Streams that got bytes in this turn. */
  private touched: Http2Stream[] = [];
  /** Where {@link beginBlock} wants the block written. */
  blockAt = 0;
  private blockBuf: Buffer | null = null;

  constructor(transport: Transport, options: Http2Options) {
    super();
    this.transport = transport;
    this.now = options.now;
    this.budget = options.budget;
    this.ownWindow = options.ownWindow;
    this.block = new HeaderBlock(options.blockBytes);
    this.output = new FrameOutput(transport);
    this.turns = new SendTurns(this.output);
    this.window = new ReceiveWindow(options.budget, connectionWindowMax);
    const nowMs = options.now();
    this.guard = new FloodGuard(IDLE_FRAMES, IDLE_FRAMES_PER_SECOND, nowMs);
    this.resets = new FloodGuard(RESETS, RESETS_PER_SECOND, nowMs);
  }

  // === what the two ends do differently ===

  /** A whole block: a head or trailers. It must be decoded, whatever becomes of it: {@link decode} or {@link skip}. */
  protected abstract onBlock(
    streamId: number,
    isWhole: boolean,
    isBad: boolean,
    buf: Buffer,
    start: number,
    end: number,
  ): void;
  /** True for a stream that nobody has opened yet. */
  protected abstract isIdle(streamId: number): boolean;
  /** Highest stream of the other side that was, or may have been, worked on. */
  protected abstract get lastStreamId(): number;
  protected abstract onPeerGoaway(lastStreamId: number, code: number, debug: string): void;
  protected abstract onPingAck(): void;
  /** A stream has ended and is forgotten. */
  protected abstract onStreamClosed(stream: Http2Stream): void;
  /** Says in the log and counts what was wrong; `streamId` 0: the connection is over. */
  protected abstract onError(code: number, streamId: number, why: string): void;
  /** GOAWAY has been sent after an error: the connection is to be closed once that has left. */
  protected abstract onOver(): void;

  // === reading ===

  /** Frames in `chunk`, which begins where the last one ended. */
  protected readFrames(chunk: Buffer): void {
    this.reader.read(chunk, this);
    this.endTurn();
  }

  private endTurn(): void {
    const { touched } = this;
    if (touched.length === 0) return;
    this.touched = [];
    for (const stream of touched) if (!stream.isGone) stream.onTurnEnd();
  }

  /** The stream is told at the end of this turn. */
  protected touch(stream: Http2Stream): void {
    this.touched.push(stream);
  }

  onOversized(type: number, streamId: number, length: number): void {
    this.fail(
      ErrorCode.frameSizeError,
      `a frame of type ${type} with ${length} bytes on stream ${streamId}`,
    );
  }

  onFrame(
    type: number,
    flags: number,
    streamId: number,
    buf: Buffer,
    start: number,
    end: number,
  ): boolean {
    if (
      this.block.streamId !== 0 &&
      (type !== FrameType.continuation || streamId !== this.block.streamId)
    )
      this.fail(ErrorCode.protocolError, "a frame in the middle of a header block");
    else if (!this.isOpen && (type !== FrameType.settings || (flags & Flag.ack) !== 0))
      this.fail(ErrorCode.protocolError, "the first frame is not SETTINGS");
    else this.dispatch(type, flags, streamId, buf, start, end);
    return !this.isOver;
  }

  private dispatch(
    type: number,
    flags: number,
    streamId: number,
    buf: Buffer,
    start: number,
    end: number,
  ): void {
    switch (type) {
      case FrameType.data:
        return this.onDataFrame(flags, streamId, buf, start, end);
      case FrameType.headers:
        return this.onHeadersFrame(flags, streamId, buf, start, end);
      case FrameType.continuation:
        return this.onContinuation(flags, buf, start, end);
      case FrameType.windowUpdate:
        return this.onWindowUpdate(streamId, buf, start, end);
      case FrameType.rstStream:
        return this.onRstStream(streamId, buf, start, end);
      case FrameType.settings:
        return this.onSettings(flags, streamId, buf, start, end);
      case FrameType.ping:
        return this.onPing(flags, streamId, buf, start, end);
      case FrameType.priority:
        return this.onPriority(streamId, buf, start, end);
      case FrameType.goaway:
        if (streamId !== 0) return this.fail(ErrorCode.protocolError, "GOAWAY on a stream");
        if (end - start < 8) return this.fail(ErrorCode.frameSizeError, "GOAWAY too short");
        if (!this.spend("GOAWAY")) return;
        return this.onPeerGoaway(
          readUint31(buf, start),
          readUint32(buf, start + 4),
          buf.latin1Slice(start + 8, Math.min(end, start + 8 + 256)),
        );
      case FrameType.pushPromise:
        return this.fail(ErrorCode.protocolError, "PUSH_PROMISE, which nobody allowed");
      case FrameType.priorityUpdate:
        if (streamId !== 0)
          return this.fail(ErrorCode.protocolError, "PRIORITY_UPDATE on a stream");
        if (end - start < 4)
          return this.fail(ErrorCode.frameSizeError, "PRIORITY_UPDATE too short");
        // RFC 9218 section 7.1: stream 0 has no priority, and pushed streams are never there
        if ((readUint31(buf, start) & 1) === 0)
          return this.fail(ErrorCode.protocolError, "PRIORITY_UPDATE of no request");
        return void this.spend("PRIORITY_UPDATE");
      default:
        this.spend("unknown");
    }
  }

  /** A frame that brings no work. False: there were too many, and the connection is over. */
  private spend(what: string): boolean {
    if (this.guard.spend(this.now)) return true;
    this.fail(ErrorCode.enhanceYourCalm, `a flood of frames, the last one ${what}`);
    return false;
  }

  private onDataFrame(
    flags: number,
    streamId: number,
    buf: Buffer,
    start: number,
    end: number,
  ): void {
    const paid = end - start;
    if (streamId === 0) return this.fail(ErrorCode.protocolError, "DATA on stream 0");
    if ((flags & Flag.padded) !== 0) {
      const padding = paid === 0 ? 256 : buf[start]!;
      if (padding >= paid)
        return this.fail(ErrorCode.protocolError, "padding longer than its DATA frame");
      start++;
      end -= padding;
    }
    const stream = this.streams.get(streamId);
    if (stream === undefined && this.isIdle(streamId))
      return this.fail(ErrorCode.protocolError, "DATA on an idle stream");
    if (!this.window.receive(paid))
      return this.fail(ErrorCode.flowControlError, "more data than the window of the connection");
    if (end - start > 0) this.guard.earn(2);
    else if ((flags & Flag.endStream) === 0 && !this.spend("empty DATA")) return;
    if (stream === undefined) {
      this.consume(paid);
      if (this.wasReset(streamId)) return;
      return this.resetClosed(streamId, ErrorCode.streamClosed, "DATA on a closed stream");
    }
    if (stream.remoteEnded) {
      this.consume(paid);
      return this.resetStream(stream, ErrorCode.streamClosed, "DATA after END_STREAM");
    }
    this.touched.push(stream);
    stream.receive(buf, start, end, paid);
    if ((flags & Flag.endStream) !== 0 && !stream.isGone) stream.receiveEnd("");
  }

  private onHeadersFrame(
    flags: number,
    streamId: number,
    buf: Buffer,
    start: number,
    end: number,
  ): void {
    if (streamId === 0) return this.fail(ErrorCode.protocolError, "HEADERS on stream 0");
    let isBad = false;
    if ((flags & (Flag.padded | Flag.priority)) !== 0) {
      let padding = 0;
      if ((flags & Flag.padded) !== 0) {
        if (start === end)
          return this.fail(ErrorCode.frameSizeError, "HEADERS without its padding");
        padding = buf[start++]!;
      }
      if ((flags & Flag.priority) !== 0) {
        if (end - start < 5)
          return this.fail(ErrorCode.frameSizeError, "HEADERS without its priority");
        isBad = readUint31(buf, start) === streamId;
        start += 5;
      }
      if (padding > end - start)
        return this.fail(ErrorCode.protocolError, "padding longer than its HEADERS frame");
      end -= padding;
    }
    this.guard.earn(4);
    if ((flags & Flag.endHeaders) !== 0)
      return this.onBlock(streamId, (flags & Flag.endStream) !== 0, isBad, buf, start, end);
    this.block.begin(streamId, flags, isBad, buf.subarray(start, end), this.now());
    this.onBlockBegun();
  }

  /** A block has begun that is not whole yet. */
  protected onBlockBegun(): void {}

  /** True while a block is not whole. */
  protected get isInBlock(): boolean {
    return this.block.streamId !== 0;
  }

  /** Since when, in monotonic ms. */
  protected get blockStartMs(): number {
    return this.block.startMs;
  }

  private onContinuation(flags: number, buf: Buffer, start: number, end: number): void {
    const { block } = this;
    const { streamId } = block;
    if (streamId === 0)
      return this.fail(ErrorCode.protocolError, "CONTINUATION without a header block");
    // what was not decoded leaves the table unknown, so the connection goes
    const flood = block.add(buf.subarray(start, end));
    if (flood !== null) return this.fail(ErrorCode.enhanceYourCalm, flood);
    if ((flags & Flag.endHeaders) === 0) return;
    const whole = block.take();
    this.onBlock(streamId, block.isWhole, block.isBad, whole, 0, whole.length);
  }

  /** False: the block is wrong, and the connection is over. */
  protected decode(buf: Buffer, start: number, end: number, sink: LineSink): boolean {
    if (this.decoder.decode(buf, start, end, sink)) return true;
    this.fail(ErrorCode.compressionError, `a header block with ${hpackFailure}`);
    return false;
  }

  /** Decodes a block that nobody wants: the table must follow. */
  protected skip(buf: Buffer, start: number, end: number): boolean {
    return this.decode(buf, start, end, nowhere);
  }

  private onWindowUpdate(streamId: number, buf: Buffer, start: number, end: number): void {
    if (end - start !== 4)
      return this.fail(ErrorCode.frameSizeError, "WINDOW_UPDATE that is not four bytes long");
    if (!this.spend("WINDOW_UPDATE")) return;
    const increment = readUint31(buf, start);
    if (streamId === 0) {
      if (increment === 0)
        return this.fail(ErrorCode.protocolError, "WINDOW_UPDATE by 0 of the connection");
      if (this.sendWindow + increment > maxWindowBytes)
        return this.fail(ErrorCode.flowControlError, "the window of the connection overflows");
      this.sendWindow += increment;
      return this.pumpAll();
    }
    const stream = this.streams.get(streamId);
    if (stream === undefined) {
      if (this.isIdle(streamId))
        this.fail(ErrorCode.protocolError, "WINDOW_UPDATE on an idle stream");
      return;
    }
    if (increment === 0)
      return this.resetStream(stream, ErrorCode.protocolError, "WINDOW_UPDATE by 0");
    if (stream.sendWindow + increment > maxWindowBytes)
      return this.resetStream(stream, ErrorCode.flowControlError, "the window overflows");
    stream.sendWindow += increment;
    if (stream.isBlocked) this.pumpAll();
  }

  private onRstStream(streamId: number, buf: Buffer, start: number, end: number): void {
    if (streamId === 0) return this.fail(ErrorCode.protocolError, "RST_STREAM on stream 0");
    if (end - start !== 4)
      return this.fail(ErrorCode.frameSizeError, "RST_STREAM that is not four bytes long");
    const stream = this.streams.get(streamId);
    if (stream === undefined) {
      if (this.isIdle(streamId))
        return this.fail(ErrorCode.protocolError, "RST_STREAM on an idle stream");
      return void this.spend("RST_STREAM");
    }
    this.forget(stream);
    stream.onGone(readUint32(buf, start), null);
    stream.release();
    if (!this.resets.spend(this.now))
      return this.fail(ErrorCode.enhanceYourCalm, "too many streams reset (rapid reset)");
    this.onStreamClosed(stream);
  }

  private onPing(flags: number, streamId: number, buf: Buffer, start: number, end: number): void {
    if (streamId !== 0) return this.fail(ErrorCode.protocolError, "PING on a stream");
    if (end - start !== 8)
      return this.fail(ErrorCode.frameSizeError, "PING that is not eight bytes long");
    if (!this.spend("PING")) return;
    if ((flags & Flag.ack) !== 0) return this.onPingAck();
    this.sendPing(buf.subarray(start, end), Flag.ack);
  }

  protected sendPing(payload: Uint8Array, flags: number): void {
    const frame = Buffer.allocUnsafe(frameHeadBytes + 8);
    writeFrameHead(frame, 0, 8, typeWith(FrameType.ping, flags), 0);
    frame.set(payload, frameHeadBytes);
    this.output.frame(frame);
  }

  private onPriority(streamId: number, buf: Buffer, start: number, end: number): void {
    if (streamId === 0) return this.fail(ErrorCode.protocolError, "PRIORITY on stream 0");
    if (!this.spend("PRIORITY")) return;
    if (end - start !== 5)
      return this.streamFault(
        streamId,
        ErrorCode.frameSizeError,
        "PRIORITY that is not five bytes long",
      );
    if (readUint31(buf, start) === streamId)
      this.streamFault(streamId, ErrorCode.protocolError, "a stream that depends on itself");
  }

  /** A stream error on a stream that may not be open: an idle one cannot be reset. */
  private streamFault(streamId: number, code: number, why: string): void {
    const stream = this.streams.get(streamId);
    if (stream !== undefined) this.resetStream(stream, code, why);
    else if (this.isIdle(streamId)) this.fail(code, why);
    else this.resetClosed(streamId, code, why);
  }

  private onSettings(
    flags: number,
    streamId: number,
    buf: Buffer,
    start: number,
    end: number,
  ): void {
    if (streamId !== 0) return this.fail(ErrorCode.protocolError, "SETTINGS on a stream");
    const length = end - start;
    if ((flags & Flag.ack) !== 0) {
      if (length !== 0)
        this.fail(ErrorCode.frameSizeError, "an acknowledgement of SETTINGS with content");
      else this.spend("SETTINGS");
      return;
    }
    if (length % 6 !== 0)
      return this.fail(ErrorCode.frameSizeError, "SETTINGS whose length is no multiple of six");
    if (length > SETTINGS_MAX * 6)
      return this.fail(ErrorCode.enhanceYourCalm, `more than ${SETTINGS_MAX} settings in a frame`);
    if (!this.spend("SETTINGS")) return;
    for (let at = start; at < end; at += 6) {
      const id = (buf[at]! << 8) | buf[at + 1]!;
      this.apply(id, readUint32(buf, at + 2));
      if (this.isOver) return;
    }
    this.output.frame(SETTINGS_ACK);
    if (this.isOpen) return;
    this.isOpen = true;
    this.onPeerReady();
  }

  /** The other side's first SETTINGS hold. */
  protected onPeerReady(): void {}

  private apply(id: number, value: number): void {
    switch (id) {
      case Setting.headerTableSize:
        return this.encoder.setLimit(value);
      case Setting.enablePush:
        if (value > 1) this.fail(ErrorCode.protocolError, "ENABLE_PUSH that is neither 0 nor 1");
        return;
      case Setting.maxConcurrentStreams:
        this.peerStreams = value;
        return;
      case Setting.initialWindowSize: {
        if (value > maxWindowBytes)
          return this.fail(ErrorCode.flowControlError, "INITIAL_WINDOW_SIZE above 2^31-1");
        const delta = value - this.peerWindow;
        this.peerWindow = value;
        for (const stream of this.streams.values()) {
          stream.sendWindow += delta;
          if (stream.sendWindow > maxWindowBytes)
            return this.fail(ErrorCode.flowControlError, "INITIAL_WINDOW_SIZE overflows a window");
        }
        if (delta > 0) this.pumpAll();
        return;
      }
      case Setting.maxFrameSize:
        if (value < defaultFrameBytes || value > 0xffffff)
          this.fail(ErrorCode.protocolError, "MAX_FRAME_SIZE outside of 2^14 to 2^24-1");
        return;
      case Setting.enableConnectProtocol:
        if (value > 1 || (this.peerConnects && value === 0))
          return this.fail(ErrorCode.protocolError, "an invalid ENABLE_CONNECT_PROTOCOL");
        this.peerConnects = value === 1;
        return;
      case Setting.noRfc7540Priorities:
        if (value > 1)
          this.fail(ErrorCode.protocolError, "NO_RFC7540_PRIORITIES that is neither 0 nor 1");
        return;
    }
  }

  // === writing ===

  /** Body bytes have found a taker: grants them again on the connection. */
  consume(bytes: number): void {
    const increment = this.window.consume(bytes);
    if (increment > 0 && !this.isOver) this.output.short(WINDOW_UPDATE, 0, increment);
  }

  /**
   * Bytes wait for a taker on one stream: grants them again on the connection, so that other streams go on, while the
   * budget lasts. False: they are still owed.
   */
  lend(bytes: number): boolean {
    if (this.lent + bytes > LEND_MAX || !this.budget.claim(bytes)) return false;
    this.lent += bytes;
    this.consume(bytes);
    return true;
  }

  /** The bytes have a taker. */
  repay(bytes: number): void {
    this.lent -= bytes;
    this.budget.release(bytes);
  }

  /** Bytes of the stream wait for a window. */
  holdBack(stream: Http2Stream): void {
    stream.blockedSinceMs = this.now();
    this.turns.block(stream);
  }

  waitForDrain(stream: Http2Stream): void {
    this.turns.waitForDrain(stream);
  }

  private pumpAll(): void {
    this.turns.pump(this, this.peerFrameBytes);
  }

  /** Since when a stream has waited for a window, in monotonic ms; 0: none waits. */
  protected get blockedSinceMs(): number {
    return this.turns.sinceMs;
  }

  /** Resets streams whose bytes nobody has taken since `sinceMs`. */
  protected resetBlocked(sinceMs: number, why: string): void {
    for (const stream of this.turns.stuck(sinceMs)) this.resetStream(stream, ErrorCode.cancel, why);
  }

  /** A buffer for a block of at most `bound` bytes, to be written from {@link blockAt}; then {@link endBlock}. */
  beginBlock(bound: number): Buffer {
    if (bound <= defaultFrameBytes) {
      const buf = this.output.room(bound + frameHeadBytes);
      this.blockAt = this.output.at + frameHeadBytes;
      this.blockBuf = null;
      return buf;
    }
    this.blockAt = 0;
    return (this.blockBuf = Buffer.allocUnsafe(bound));
  }

  /** Sends the block that ends at `end` as HEADERS, and CONTINUATION where it is long. */
  endBlock(streamId: number, end: number, flags: number): void {
    const block = this.blockBuf;
    const { output } = this;
    if (block === null) {
      const start = this.blockAt - frameHeadBytes;
      writeFrameHead(output.room(0), start, end - this.blockAt, HEADERS | flags, streamId);
      return output.commit(start, end, streamId);
    }
    this.blockBuf = null;
    const max = defaultFrameBytes;
    const count = Math.ceil(end / max);
    const frames = Buffer.allocUnsafeSlow(end + count * frameHeadBytes);
    let at = 0;
    for (let from = 0; from < end; from += max) {
      const to = Math.min(end, from + max);
      const type = from === 0 ? FrameType.headers : FrameType.continuation;
      const own = (from === 0 ? flags : 0) | (to === end ? Flag.endHeaders : 0);
      at = writeFrameHead(frames, at, to - from, typeWith(type, own), streamId);
      at += block.copy(frames, at, from, to);
    }
    output.large(frames);
  }

  // === ends ===

  /** A stream error: RST_STREAM, and the stream is over. The other side's doing, unless `isOurs`. */
  resetStream(stream: Http2Stream, code: number, why: string, isOurs = false): void {
    if (stream.isGone) return;
    this.forget(stream);
    stream.isGone = true;
    this.output.short(RST_STREAM, stream.id, code);
    this.closed.noteReset(stream.id);
    stream.onGone(code, null);
    stream.release();
    if (!isOurs && !this.chargeReset(stream.id, code, why)) return;
    this.onStreamClosed(stream);
  }

  /** RST_STREAM for a stream that is not, or no longer, there. */
  protected resetClosed(streamId: number, code: number, why: string): void {
    this.output.short(RST_STREAM, streamId, code);
    this.closed.noteReset(streamId);
    this.chargeReset(streamId, code, why);
  }

  private chargeReset(streamId: number, code: number, why: string): boolean {
    this.onError(code, streamId, why);
    if (this.resets.spend(this.now)) return true;
    this.fail(ErrorCode.enhanceYourCalm, `too many stream errors, the last one ${why}`);
    return false;
  }

  /** The stream has ended on both sides. */
  closeStream(stream: Http2Stream): void {
    // who lets as many requests end as it resets is busy, and no attacker
    this.resets.earn(1);
    this.forget(stream);
    stream.release();
    this.onStreamClosed(stream);
  }

  private forget(stream: Http2Stream): void {
    this.streams.delete(stream.id);
    this.turns.forget(stream);
    this.closed.noteEnd(stream.id);
  }

  /** True when we reset the stream: what was under way then is ignored (RFC 9113 section 5.1). */
  protected wasReset(streamId: number): boolean {
    return this.closed.wasReset(streamId);
  }

  /** True when the stream ended lately. */
  protected wasClosed(streamId: number): boolean {
    return this.closed.hasEnded(streamId);
  }

  sendGoaway(lastStreamId: number, code: number, debug: string): void {
    const text = Buffer.from(debug, "latin1");
    const frame = Buffer.allocUnsafe(frameHeadBytes + 8 + text.length);
    const at = writeFrameHead(frame, 0, 8 + text.length, typeWith(FrameType.goaway, 0), 0);
    frame.set(text, writeUint32(frame, writeUint32(frame, at, lastStreamId), code));
    this.output.frame(frame);
  }

  /** A connection error: GOAWAY, and everything on the connection is over. */
  fail(code: number, why: string): void {
    if (this.isOver) return;
    this.onError(code, 0, why);
    this.sendGoaway(this.lastStreamId, code, why);
    this.end(code, null);
    this.output.flush();
    this.onOver();
  }

  /** Nothing is read or written from now on; every stream is told. */
  protected end(code: number, error: Error | null): void {
    if (this.isOver) return;
    this.isOver = true;
    const all = [...this.streams.values()];
    this.streams.clear();
    this.turns.clear();
    this.touched = [];
    for (const stream of all) {
      stream.isGone = true;
      stream.onGone(code, error);
      stream.release();
    }
    this.window.release();
  }

  // === impl TransportHandler ===

  abstract onData(chunk: Buffer): void;
  abstract onEnd(): void;
  abstract onClose(error: Error | null): void;

  onDrain(): void {
    this.output.isFull = false;
    if (this.isOver) return;
    this.pumpAll();
    this.turns.drained();
  }
}
