/** Frames as such (RFC 9113 sections 4 and 6): their order, their shape, the stream they may be on, and floods of them. */

import { Timed } from "../clock.ts";
import {
  ErrorCode,
  Flag,
  FrameReader,
  FrameType,
  readUint31,
  readUint32,
  type FrameSink,
} from "./frames.ts";
import { FloodGuard } from "./flow.ts";
import { HeaderBlock } from "./header-block.ts";

/** Frames that carry no work, at once and lastingly (Envoy allows 1000 answers to such frames to wait). */
const IDLE_FRAMES = 1000;
const IDLE_FRAMES_PER_SECOND = 100;
/** Settings in one frame (CVE-2020-11080; nghttp2: 32). */
const SETTINGS_MAX = 32;

/** What is read of one end of a connection; what the frames do is for the subclass. */
export abstract class FrameLayer extends Timed implements FrameSink {
  /** Monotonic milliseconds. */
  readonly now: () => number;
  readonly guard: FloodGuard;
  /** The other side's first SETTINGS have arrived. */
  isOpen = false;
  /** A connection error has been sent, or the connection is gone: nothing is read or written any more. */
  isOver = false;

  private readonly reader = new FrameReader();
  private readonly block: HeaderBlock;

  /** @param blockBytes largest block taken, as it is on the wire: beyond it a flood is assumed and the connection ends */
  constructor(now: () => number, blockBytes: number) {
    super();
    this.now = now;
    this.block = new HeaderBlock(blockBytes);
    this.guard = new FloodGuard(IDLE_FRAMES, IDLE_FRAMES_PER_SECOND, now());
  }

  // === what the frames do ===

  /** @param paid octets that it takes from the windows: the payload with its padding */
  protected abstract onPayload(
    streamId: number,
    isLast: boolean,
    buf: Buffer,
    start: number,
    end: number,
    paid: number,
  ): void;
  /**
   * A whole block: a head or trailers. It must be decoded, whatever becomes of it.
   * @param isBad its priority makes the stream depend on itself
   */
  protected abstract onBlock(
    streamId: number,
    isLast: boolean,
    isBad: boolean,
    buf: Buffer,
    start: number,
    end: number,
  ): void;
  protected abstract onReset(streamId: number, code: number): void;
  protected abstract onIncrement(streamId: number, increment: number): void;
  protected abstract onSetting(id: number, value: number): void;
  /** All of a SETTINGS frame holds. */
  protected abstract onSettingsWhole(): void;
  protected abstract onPing(payload: Buffer): void;
  protected abstract onPingAck(): void;
  protected abstract onPeerGoaway(lastStreamId: number, code: number, debug: string): void;
  /** RFC 9218 section 7.1: a client says how urgent a stream is. */
  protected abstract onPriorityUpdate(streamId: number): void;
  /** A stream error on a stream that may not be open. */
  protected abstract streamFault(streamId: number, code: number, why: string): void;
  /** A block has begun that is not whole yet. */
  protected onBlockBegun(): void {}
  /** A connection error. */
  abstract fail(code: number, why: string): void;

  // === reading ===

  /** Frames in `chunk`, which begins where the last one ended. */
  protected readFrames(chunk: Buffer): void {
    this.reader.read(chunk, this);
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
        return this.onPingFrame(flags, streamId, buf, start, end);
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
        if (this.spend("PRIORITY_UPDATE")) this.onPriorityUpdate(readUint31(buf, start));
        return;
      default:
        this.spend("unknown");
    }
  }

  /** A frame that brings no work. False: there were too many, and the connection is over. */
  protected spend(what: string): boolean {
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
    this.onPayload(streamId, (flags & Flag.endStream) !== 0, buf, start, end, paid);
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

  private onWindowUpdate(streamId: number, buf: Buffer, start: number, end: number): void {
    if (end - start !== 4)
      return this.fail(ErrorCode.frameSizeError, "WINDOW_UPDATE that is not four bytes long");
    if (!this.spend("WINDOW_UPDATE")) return;
    this.onIncrement(streamId, readUint31(buf, start));
  }

  private onRstStream(streamId: number, buf: Buffer, start: number, end: number): void {
    if (streamId === 0) return this.fail(ErrorCode.protocolError, "RST_STREAM on stream 0");
    if (end - start !== 4)
      return this.fail(ErrorCode.frameSizeError, "RST_STREAM that is not four bytes long");
    this.onReset(streamId, readUint32(buf, start));
  }

  private onPingFrame(
    flags: number,
    streamId: number,
    buf: Buffer,
    start: number,
    end: number,
  ): void {
    if (streamId !== 0) return this.fail(ErrorCode.protocolError, "PING on a stream");
    if (end - start !== 8)
      return this.fail(ErrorCode.frameSizeError, "PING that is not eight bytes long");
    if (!this.spend("PING")) return;
    if ((flags & Flag.ack) !== 0) return this.onPingAck();
    this.onPing(buf.subarray(start, end));
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
      this.onSetting(id, readUint32(buf, at + 2));
      if (this.isOver) return;
    }
    this.onSettingsWhole();
  }
}
