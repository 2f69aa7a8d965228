/** Frames on their way out: those of one turn of the event loop leave in one write. */

import type { Transport } from "../listen/transport.ts";
import {
  defaultFrameBytes,
  Flag,
  frameHeadBytes,
  FrameType,
  typeWith,
  writeFrameHead,
  writeUint32,
} from "./frames.ts";

/** What one write collects; a turn that makes more is written in several. */
const BUFFER_BYTES = 32 * 1024;
/** Larger payloads get a buffer of their own instead of being cut up. */
const LARGE_BYTES = 8 * 1024;
const POOL_MAX = 64;

const HEADERS = typeWith(FrameType.headers, Flag.endHeaders);

/** What the longest chunk that a socket reads takes as frames of the smallest size. */
const BULK_BYTES = 129 * 1024;
const BULK_POOL = 16;

const pool: Buffer[] = [];
/** Buffers of {@link BULK_BYTES}, kept since the pages of a fresh one cost more than the bytes that are copied into it. */
const bulkPool: Buffer[] = [];
const dirty: FrameOutput[] = [];
let isScheduled = false;

function flushAll(): void {
  isScheduled = false;
  for (const output of dirty.splice(0)) output.flush();
}

/** The writing half of a connection. */
export class FrameOutput {
  private readonly transport: Transport;
  private buf: Buffer | null = null;
  private used = 0;
  /** The last frame in the buffer, while its flags can still be changed; -1: none. */
  private lastFrame = -1;
  private lastStream = 0;
  private isDirty = false;
  /** Where {@link beginBlock} wants the block written. */
  blockAt = 0;
  private block: Buffer | null = null;
  /** The socket takes no more for now; its owner clears this when it does. */
  isFull = false;

  constructor(transport: Transport) {
    this.transport = transport;
  }

  /** The buffer to write frames into, with room for `bytes` (at most 32 KiB) from {@link at}. */
  room(bytes: number): Buffer {
    if (this.buf !== null && this.used + bytes > BUFFER_BYTES) this.flush();
    if (this.buf === null) {
      this.buf = pool.pop() ?? Buffer.allocUnsafeSlow(BUFFER_BYTES);
      if (!this.isDirty) {
        this.isDirty = true;
        dirty.push(this);
        if (!isScheduled) {
          isScheduled = true;
          setImmediate(flushAll);
        }
      }
    }
    return this.buf;
  }

  /** Where to write in what {@link room} returned. */
  get at(): number {
    return this.used;
  }

  /** Everything up to `end` has been written; the last frame began at `start` and belongs to the stream. */
  commit(start: number, end: number, streamId: number): void {
    this.lastFrame = start;
    this.lastStream = streamId;
    this.used = end;
  }

  /** Copies a whole frame. */
  frame(bytes: Uint8Array): void {
    const buf = this.room(bytes.length);
    buf.set(bytes, this.used);
    this.used += bytes.length;
    this.lastFrame = -1;
  }

  /** A frame with one 32-bit number: WINDOW_UPDATE, RST_STREAM. */
  short(typeAndFlags: number, streamId: number, value: number): void {
    const buf = this.room(frameHeadBytes + 4);
    const at = writeFrameHead(buf, this.used, 4, typeAndFlags, streamId);
    buf[at] = value >>> 24;
    buf[at + 1] = value >>> 16;
    buf[at + 2] = value >>> 8;
    buf[at + 3] = value;
    this.used = at + 4;
    this.lastFrame = -1;
  }

  /** A buffer for a block of at most `bound` bytes, to be written from {@link blockAt}; then {@link endBlock}. */
  beginBlock(bound: number): Buffer {
    if (bound <= defaultFrameBytes) {
      const buf = this.room(bound + frameHeadBytes);
      this.blockAt = this.at + frameHeadBytes;
      this.block = null;
      return buf;
    }
    this.blockAt = 0;
    return (this.block = Buffer.allocUnsafe(bound));
  }

  /** Sends the block that ends at `end` as HEADERS, and CONTINUATION where it is long. */
  endBlock(streamId: number, end: number, flags: number): void {
    const { block } = this;
    if (block === null) {
      const start = this.blockAt - frameHeadBytes;
      writeFrameHead(this.room(0), start, end - this.blockAt, HEADERS | flags, streamId);
      return this.commit(start, end, streamId);
    }
    this.block = null;
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
    this.large(frames);
  }

  ping(payload: Uint8Array, flags: number): void {
    const frame = Buffer.allocUnsafe(frameHeadBytes + 8);
    writeFrameHead(frame, 0, 8, typeWith(FrameType.ping, flags), 0);
    frame.set(payload, frameHeadBytes);
    this.frame(frame);
  }

  goaway(lastStreamId: number, code: number, debug: string): void {
    const text = Buffer.from(debug, "latin1");
    const frame = Buffer.allocUnsafe(frameHeadBytes + 8 + text.length);
    const at = writeFrameHead(frame, 0, 8 + text.length, typeWith(FrameType.goaway, 0), 0);
    frame.set(text, writeUint32(frame, writeUint32(frame, at, lastStreamId), code));
    this.frame(frame);
  }

  /**
   * DATA frames of at most `maxFrame` bytes each with the bytes of `chunk[start, end)`, which are copied.
   * @param typeAndFlags of the last one
   */
  data(
    streamId: number,
    chunk: Uint8Array,
    start: number,
    end: number,
    maxFrame: number,
    typeAndFlags: number,
  ): void {
    const length = end - start;
    if (length <= LARGE_BYTES && length <= maxFrame) {
      const buf = this.room(frameHeadBytes + length);
      const first = this.used;
      const at = writeFrameHead(buf, first, length, typeAndFlags, streamId);
      if (length < 48) for (let i = 0; i < length; i++) buf[at + i] = chunk[start + i]!;
      else buf.set(start === 0 && end === chunk.length ? chunk : chunk.subarray(start, end), at);
      this.commit(first, at + length, streamId);
      return;
    }
    const frames = Math.ceil(length / maxFrame);
    const size = length + frames * frameHeadBytes;
    const isBulk = size <= BULK_BYTES;
    const buffer = isBulk
      ? (bulkPool.pop() ?? Buffer.allocUnsafeSlow(BULK_BYTES))
      : Buffer.allocUnsafeSlow(size);
    const bytes = size === buffer.length ? buffer : buffer.subarray(0, size);
    let at = 0;
    for (let from = start; from < end; from += maxFrame) {
      const to = Math.min(from + maxFrame, end);
      at = writeFrameHead(bytes, at, to - from, to === end ? typeAndFlags : 0, streamId);
      bytes.set(chunk.subarray(from, to), at);
      at += to - from;
    }
    this.large(bytes);
    // as in flush
    if (isBulk && this.transport.writableBytes === 0 && bulkPool.length < BULK_POOL)
      bulkPool.push(buffer);
  }

  /** Whole frames in a buffer that is ours to give away. */
  large(bytes: Buffer): void {
    if (this.used === 0) {
      if (!this.transport.write(bytes)) this.isFull = true;
      return;
    }
    this.transport.cork();
    this.flush();
    if (!this.transport.write(bytes)) this.isFull = true;
    this.transport.uncork();
  }

  /** Sets flags of the frame just written, if it is this stream's and has not left yet. */
  amend(streamId: number, flags: number): boolean {
    if (this.lastFrame < 0 || this.lastStream !== streamId) return false;
    this.buf![this.lastFrame + 4]! |= flags;
    this.lastFrame = -1;
    return true;
  }

  /** The frame just written stays as it is: see {@link amend}. */
  seal(): void {
    this.lastFrame = -1;
  }

  /** Writes what has been collected. */
  flush(): void {
    this.isDirty = false;
    const { buf, used, transport } = this;
    if (buf === null) return;
    this.buf = null;
    this.used = 0;
    this.lastFrame = -1;
    if (used === 0) return void give(buf);
    if (!transport.write(used === buf.length ? buf : buf.subarray(0, used))) this.isFull = true;
    // the system took it at once: nobody reads the buffer any more
    if (transport.writableBytes === 0) give(buf);
  }
}

function give(buf: Buffer): void {
  if (pool.length < POOL_MAX) pool.push(buf);
}
