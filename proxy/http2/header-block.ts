/** A header block that comes in pieces: HEADERS and its CONTINUATION frames (RFC 9113 section 4.3). */

import { Flag } from "./frames.ts";

/** CONTINUATION frames of one block (nghttp2: 8). */
const PIECES_MAX = 32;

/** The block that a connection is in the middle of. */
export class HeaderBlock {
  private readonly limitBytes: number;
  /** Its stream; 0: there is none. */
  streamId = 0;
  /** Monotonic ms of its first piece. */
  startMs = 0;
  isWhole = false;
  /** Its priority is an error, which is told once the block is decoded. */
  isBad = false;
  private pieces: Buffer[] = [];
  private size = 0;

  /** @param limitBytes as it is on the wire */
  constructor(limitBytes: number) {
    this.limitBytes = limitBytes;
  }

  begin(streamId: number, flags: number, isBad: boolean, first: Buffer, nowMs: number): void {
    this.streamId = streamId;
    this.isWhole = (flags & Flag.endStream) !== 0;
    this.isBad = isBad;
    this.startMs = nowMs;
    this.pieces = [Buffer.from(first)];
    this.size = first.length;
  }

  /** @returns null, or why the block is a flood (CVE-2024-27316) */
  add(piece: Buffer): string | null {
    this.size += piece.length;
    if (this.size > this.limitBytes) return `a header block of more than ${this.limitBytes} bytes`;
    if (this.pieces.length > PIECES_MAX) return `a header block of more than ${PIECES_MAX} frames`;
    this.pieces.push(Buffer.from(piece));
    return null;
  }

  /** The last piece has come: hands the block out and forgets it. */
  take(): Buffer {
    const whole = Buffer.concat(this.pieces);
    this.pieces = [];
    this.streamId = 0;
    return whole;
  }
}
