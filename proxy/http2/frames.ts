/** Frames of HTTP/2 (RFC 9113 sections 4 and 6): bytes to frames and back, the same for both ends. */

/** RFC 9113 section 6; PRIORITY_UPDATE is RFC 9218's. Any other type is ignored. */
export const FrameType = {
  data: 0,
  headers: 1,
  priority: 2,
  rstStream: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
  priorityUpdate: 16,
} as const;

/** Frame flags; `ack` (SETTINGS, PING) shares its bit with `endStream`. */
export const Flag = { endStream: 1, ack: 1, endHeaders: 4, padded: 8, priority: 32 } as const;

/** RFC 9113 section 7. */
export const ErrorCode = {
  noError: 0,
  protocolError: 1,
  internalError: 2,
  flowControlError: 3,
  settingsTimeout: 4,
  streamClosed: 5,
  frameSizeError: 6,
  refusedStream: 7,
  cancel: 8,
  compressionError: 9,
  connectError: 10,
  enhanceYourCalm: 11,
  inadequateSecurity: 12,
  http11Required: 13,
} as const;

const errorNames = [
  "NO_ERROR",
  "PROTOCOL_ERROR",
  "INTERNAL_ERROR",
  "FLOW_CONTROL_ERROR",
  "SETTINGS_TIMEOUT",
  "STREAM_CLOSED",
  "FRAME_SIZE_ERROR",
  "REFUSED_STREAM",
  "CANCEL",
  "COMPRESSION_ERROR",
  "CONNECT_ERROR",
  "ENHANCE_YOUR_CALM",
  "INADEQUATE_SECURITY",
  "HTTP_1_1_REQUIRED",
] as const;

/** The registered name of an error code, for logs; unknown codes as a number. */
export function errorName(code: number): string {
  return errorNames[code] ?? `error ${code}`;
}

/** RFC 9113 section 6.5.2; enableConnectProtocol is RFC 8441's, noRfc7540Priorities RFC 9218's. */
export const Setting = {
  headerTableSize: 1,
  enablePush: 2,
  maxConcurrentStreams: 3,
  initialWindowSize: 4,
  maxFrameSize: 5,
  maxHeaderListSize: 6,
  enableConnectProtocol: 8,
  noRfc7540Priorities: 9,
} as const;

/** What a client sends first (RFC 9113 section 3.4), before its SETTINGS. */
export const clientPreface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");

export const frameHeadBytes = 9;
/** Largest payload that both sides take without asking; we never ask for more. */
export const defaultFrameBytes = 16_384;
/** Flow-control window of a connection, and of a stream whose peer asked for no other. */
export const defaultWindowBytes = 65_535;
export const maxWindowBytes = 0x7fffffff;
export const maxStreamId = 0x7fffffff;

/** Writes the nine bytes before a payload; returns the index after them. */
export function writeFrameHead(
  out: Uint8Array,
  at: number,
  length: number,
  typeAndFlags: number,
  streamId: number,
): number {
  out[at] = length >>> 16;
  out[at + 1] = length >>> 8;
  out[at + 2] = length;
  out[at + 3] = typeAndFlags >>> 8;
  out[at + 4] = typeAndFlags;
  return writeUint32(out, at + 5, streamId);
}

/** Type and flags of a frame in one number, as {@link writeFrameHead} takes them. */
export function typeWith(type: number, flags: number): number {
  return (type << 8) | flags;
}

export function writeUint32(out: Uint8Array, at: number, value: number): number {
  out[at] = value >>> 24;
  out[at + 1] = value >>> 16;
  out[at + 2] = value >>> 8;
  out[at + 3] = value;
  return at + 4;
}

export function readUint32(buf: Uint8Array, at: number): number {
  return ((buf[at]! << 24) | (buf[at + 1]! << 16) | (buf[at + 2]! << 8) | buf[at + 3]!) >>> 0;
}

/** 31 bits: the reserved one is ignored when read (RFC 9113 section 4.1). */
export function readUint31(buf: Uint8Array, at: number): number {
  return ((buf[at]! & 0x7f) << 24) | (buf[at + 1]! << 16) | (buf[at + 2]! << 8) | buf[at + 3]!;
}

/** A whole SETTINGS frame. */
export function settingsFrame(settings: readonly (readonly [id: number, value: number])[]): Buffer {
  const frame = Buffer.alloc(frameHeadBytes + settings.length * 6);
  let at = writeFrameHead(frame, 0, settings.length * 6, typeWith(FrameType.settings, 0), 0);
  for (const [id, value] of settings) {
    frame[at] = id >>> 8;
    frame[at + 1] = id;
    at = writeUint32(frame, at + 2, value);
  }
  return frame;
}

/** Whoever reads frames. */
export interface FrameSink {
  /** The payload is `buf[start, end)`, valid only during the call. False: the rest is not read. */
  onFrame(
    type: number,
    flags: number,
    streamId: number,
    buf: Buffer,
    start: number,
    end: number,
  ): boolean;
  /** A frame larger than allowed begins; nothing more is read. */
  onOversized(type: number, streamId: number, length: number): void;
}

/** Cuts bytes into frames. Whole frames are handed on where they lie; one that is split is put together first. */
export class FrameReader {
  private readonly maxBytes: number;
  /** A frame of which only a part has arrived: its head, then all of it. */
  private partial: Buffer | null = null;
  private have = 0;

  /** @param maxBytes largest payload taken: SETTINGS_MAX_FRAME_SIZE of this side */
  constructor(maxBytes: number = defaultFrameBytes) {
    this.maxBytes = maxBytes;
  }

  /** True between two frames. */
  get isEmpty(): boolean {
    return this.partial === null;
  }

  /** @returns false when the sink stopped or a frame was too large */
  read(chunk: Buffer, sink: FrameSink): boolean {
    let at = 0;
    if (this.partial !== null) {
      at = this.complete(chunk, sink);
      if (at < 0) return false;
    }
    const end = chunk.length;
    while (end - at >= frameHeadBytes) {
      const length = (chunk[at]! << 16) | (chunk[at + 1]! << 8) | chunk[at + 2]!;
      if (length > this.maxBytes) {
        sink.onOversized(chunk[at + 3]!, readUint31(chunk, at + 5), length);
        return false;
      }
      const start = at + frameHeadBytes;
      const after = start + length;
      if (after > end) break;
      if (
        !sink.onFrame(
          chunk[at + 3]!,
          chunk[at + 4]!,
          readUint31(chunk, at + 5),
          chunk,
          start,
          after,
        )
      )
        return false;
      at = after;
    }
    if (at < end) this.keep(chunk, at);
    return true;
  }

  /** The start of a frame whose end has not arrived. */
  private keep(chunk: Buffer, at: number): void {
    const rest = chunk.length - at;
    let size = frameHeadBytes;
    if (rest >= frameHeadBytes) size += (chunk[at]! << 16) | (chunk[at + 1]! << 8) | chunk[at + 2]!;
    this.partial = Buffer.allocUnsafe(size);
    this.have = chunk.copy(this.partial, 0, at);
  }

  /** @returns index in `chunk` after the frame, or after everything; -1: stop */
  private complete(chunk: Buffer, sink: FrameSink): number {
    let at = 0;
    let frame = this.partial!;
    if (frame.length === frameHeadBytes && this.have < frameHeadBytes) {
      at = this.take(frame, chunk, 0);
      if (this.have < frameHeadBytes) return at;
      const length = (frame[0]! << 16) | (frame[1]! << 8) | frame[2]!;
      if (length > this.maxBytes) {
        sink.onOversized(frame[3]!, readUint31(frame, 5), length);
        return -1;
      }
      if (length > 0) {
        const whole = Buffer.allocUnsafe(frameHeadBytes + length);
        frame.copy(whole);
        frame = this.partial = whole;
      }
    }
    at = this.take(frame, chunk, at);
    if (this.have < frame.length) return at;
    this.partial = null;
    const goOn = sink.onFrame(
      frame[3]!,
      frame[4]!,
      readUint31(frame, 5),
      frame,
      frameHeadBytes,
      frame.length,
    );
    return goOn ? at : -1;
  }

  private take(frame: Buffer, chunk: Buffer, at: number): number {
    const n = Math.min(frame.length - this.have, chunk.length - at);
    chunk.copy(frame, this.have, at, at + n);
    this.have += n;
    return at + n;
  }
}
