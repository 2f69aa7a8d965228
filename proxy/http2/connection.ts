/** What both ends of an HTTP/2 connection do alike (RFC 9113 sections 5 and 6): streams, settings, windows, errors. */

import type { Transport, TransportHandler } from "../listen/transport.ts";
import {
  ErrorCode,
  Flag,
  FrameType,
  Setting,
  defaultFrameBytes,
  defaultWindowBytes,
  maxWindowBytes,
  typeWith,
} from "./frames.ts";
import { FloodGuard, ReceiveWindow, connectionWindowMax, type WindowBudget } from "./flow.ts";
import { FrameLayer } from "./frame-layer.ts";
import { HpackDecoder, hpackFailure, type LineSink } from "./hpack-decoder.ts";
import { HpackEncoder } from "./hpack-encoder.ts";
import { ClosedStreams } from "./closed-streams.ts";
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
  /** Resets that the other side may cause, at once and lastingly. */
  readonly resets: { readonly atOnce: number; readonly perSecond: number };
}

/** Bytes without a taker that one connection may have waiting on its streams beyond its window. */
const LEND_MAX = 8 * 1024 * 1024;

const SETTINGS_ACK = Buffer.from([0, 0, 0, FrameType.settings, Flag.ack, 0, 0, 0, 0]);
const WINDOW_UPDATE = typeWith(FrameType.windowUpdate, 0);
const RST_STREAM = typeWith(FrameType.rstStream, 0);

const nowhere: LineSink = { onLine() {} };

/** One end of a connection. */
export abstract class Http2Connection extends FrameLayer implements TransportHandler {
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
  readonly streams = new Map<number, Http2Stream>();
  /** SETTINGS_MAX_CONCURRENT_STREAMS of the other side. */
  peerStreams = 0x7fffffff;
  /** SETTINGS_ENABLE_CONNECT_PROTOCOL of the other side. */
  peerConnects = false;

  private readonly decoder = new HpackDecoder();
  private readonly window: ReceiveWindow;
  private readonly resets: FloodGuard;
  /** Bytes that wait on streams and have been granted again. */
  private lent = 0;
  private readonly turns: SendTurns<Http2Stream>;
  private readonly closed = new ClosedStreams();
  /** Streams that got bytes in this turn. */
  private touched: Http2Stream[] = [];

  constructor(transport: Transport, options: Http2Options) {
    super(options.now, options.blockBytes);
    this.transport = transport;
    this.budget = options.budget;
    this.ownWindow = options.ownWindow;
    this.output = new FrameOutput(transport);
    this.turns = new SendTurns(this.output);
    this.window = new ReceiveWindow(options.budget, connectionWindowMax);
    this.resets = new FloodGuard(options.resets.atOnce, options.resets.perSecond, options.now());
  }

  // === what the two ends do differently ===

  /** True for a stream that nobody has opened yet. */
  protected abstract isIdle(streamId: number): boolean;
  /** Highest stream of the other side that was, or may have been, worked on. */
  protected abstract get lastStreamId(): number;
  /** Highest value of SETTINGS_ENABLE_PUSH that the other side may send: a server never sends 1. */
  protected abstract get maxPush(): number;
  /** A stream has ended and is forgotten. */
  protected abstract onStreamClosed(stream: Http2Stream): void;
  /** Says in the log and counts what was wrong; `streamId` 0: the connection is over. */
  protected abstract onError(code: number, streamId: number, why: string): void;
  /** GOAWAY has been sent after an error: the connection is to be closed once that has left. */
  protected abstract onOver(): void;
  /** What its streams are told when the connection ends with an error; null: the code says all. */
  protected causeOf(_why: string): Error | null {
    return null;
  }

  // === reading ===

  protected override readFrames(chunk: Buffer): void {
    super.readFrames(chunk);
    const { touched } = this;
    if (touched.length === 0) return;
    this.touched = [];
    for (const stream of touched) if (!stream.isGone) stream.onTurnEnd();
  }

  /** The stream is told at the end of this turn. */
  protected touch(stream: Http2Stream): void {
    this.touched.push(stream);
  }

  protected override onPayload(
    streamId: number,
    isLast: boolean,
    buf: Buffer,
    start: number,
    end: number,
    paid: number,
  ): void {
    const stream = this.streams.get(streamId);
    if (stream === undefined && this.isIdle(streamId))
      return this.fail(ErrorCode.protocolError, "DATA on an idle stream");
    if (!this.window.receive(paid))
      return this.fail(ErrorCode.flowControlError, "more data than the window of the connection");
    if (end - start > 0) this.guard.earn(2);
    else if (!isLast && !this.spend("empty DATA")) return;
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
    if (isLast && !stream.isGone) stream.receiveEnd("");
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

  protected override onIncrement(streamId: number, increment: number): void {
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

  protected override onReset(streamId: number, code: number): void {
    const stream = this.streams.get(streamId);
    if (stream === undefined) {
      if (this.isIdle(streamId))
        return this.fail(ErrorCode.protocolError, "RST_STREAM on an idle stream");
      return void this.spend("RST_STREAM");
    }
    this.forget(stream);
    stream.onGone(code, null);
    stream.release();
    if (!this.resets.spend(this.now))
      return this.fail(ErrorCode.enhanceYourCalm, "too many streams reset (rapid reset)");
    this.onStreamClosed(stream);
  }

  protected override onPing(payload: Buffer): void {
    this.output.ping(payload, Flag.ack);
  }

  /** A stream error on a stream that may not be open: an idle one cannot be reset. */
  protected override streamFault(streamId: number, code: number, why: string): void {
    const stream = this.streams.get(streamId);
    if (stream !== undefined) this.resetStream(stream, code, why);
    else if (this.isIdle(streamId)) this.fail(code, why);
    else this.resetClosed(streamId, code, why);
  }

  protected override onSettingsWhole(): void {
    this.output.frame(SETTINGS_ACK);
    if (this.isOpen) return;
    this.isOpen = true;
    this.onPeerReady();
  }

  /** The other side's first SETTINGS hold. */
  protected onPeerReady(): void {}

  protected override onSetting(id: number, value: number): void {
    switch (id) {
      case Setting.headerTableSize:
        return this.encoder.setLimit(value);
      case Setting.enablePush:
        if (value > this.maxPush)
          this.fail(ErrorCode.protocolError, `ENABLE_PUSH of ${value} at this side`);
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

  // === ends ===

  /** A stream error: RST_STREAM, and the stream is over. The other side's doing, unless `isOurs`. */
  resetStream(stream: Http2Stream, code: number, why: string, isOurs = false): void {
    if (stream.isGone) return;
    this.forget(stream);
    stream.isGone = true;
    this.output.short(RST_STREAM, stream.id, code);
    this.closed.noteReset(stream.id);
    stream.onRefused(code, why);
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

  /** The other side will do nothing for the stream: it is over without a frame. */
  abandon(stream: Http2Stream, error: Error): void {
    this.forget(stream);
    stream.onGone(ErrorCode.refusedStream, error);
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

  /** A connection error: GOAWAY, and everything on the connection is over. */
  override fail(code: number, why: string): void {
    if (this.isOver) return;
    this.onError(code, 0, why);
    this.output.goaway(this.lastStreamId, code, why);
    this.end(code, this.causeOf(why));
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
