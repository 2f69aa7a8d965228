/** Header blocks to field lines (RFC 7541): the decoding half of HPACK, with its dynamic table. */

import { latin1 } from "../http/latin1.ts";
import { Line, nameOf, type Name } from "./field-names.ts";
import { huffmanDecode } from "./huffman.ts";
import { staticCount, staticLines } from "./static-table.ts";

/** Takes the lines of a block, in order. */
export interface LineSink {
  onLine(line: Line): void;
}

/** What we let the other side's encoder use, in octets: the protocol's default, so that it holds from the first block. */
export const decoderTableBytes = 4096;

/** What was wrong in the last block that {@link HpackDecoder.decode} refused: a plain sentence. */
export let hpackFailure = "";

/** No integer of a block is larger: far above any index or length, far below what would overflow. */
const INTEGER_MAX = 0x0fffffff;

/** One direction of one connection. After a failure the connection is over: the table can no longer be trusted. */
export class HpackDecoder {
  private readonly limitBytes: number;
  private maxBytes: number;
  private usedBytes = 0;
  /** A ring; an entry takes at least 32 octets. */
  private readonly ring: (Line | null)[];
  private readonly mask: number;
  /** Entries ever inserted, less those ever evicted, are in the ring. */
  private inserted = 0;
  private evicted = 0;

  private buf: Uint8Array = EMPTY;
  private at = 0;
  private end = 0;

  /** @param limitBytes SETTINGS_HEADER_TABLE_SIZE of this side */
  constructor(limitBytes: number = decoderTableBytes) {
    this.limitBytes = limitBytes;
    this.maxBytes = limitBytes;
    let slots = 8;
    while (slots * 32 < limitBytes) slots *= 2;
    this.mask = slots - 1;
    // grows with use: most connections need a few entries
    this.ring = [];
  }

  /** Octets in the dynamic table. */
  get tableBytes(): number {
    return this.usedBytes;
  }

  /** @returns false when the block is wrong (COMPRESSION_ERROR); see {@link hpackFailure} */
  decode(buf: Buffer, start: number, end: number, sink: LineSink): boolean {
    this.buf = buf;
    this.at = start;
    this.end = end;
    const whole = this.run(buf, sink);
    this.buf = EMPTY;
    return whole;
  }

  private run(buf: Buffer, sink: LineSink): boolean {
    let updatesAllowed = true;
    while (this.at < this.end) {
      const first = buf[this.at]!;
      if (first >= 128) {
        const index = first === 255 ? this.integer(127) : (this.at++, first & 127);
        const line = this.line(index);
        if (line === null) return false;
        sink.onLine(line);
      } else if (first >= 64) {
        const line = this.literal(buf, first === 127 ? this.integer(63) : (this.at++, first & 63));
        if (line === null) return false;
        this.insert(line);
        sink.onLine(line);
      } else if (first >= 32) {
        if (!updatesAllowed) return wrong("a table size update that does not begin the block");
        const size = this.integer(31);
        if (size < 0) return false;
        if (size > this.limitBytes) return wrong("a table size update above the limit");
        this.maxBytes = size;
        this.evict(0);
        continue;
      } else {
        const index = (first & 15) === 15 ? this.integer(15) : (this.at++, first & 15);
        const line = this.literal(buf, index);
        if (line === null) return false;
        if (first >= 16) line.isSecret = !line.name.isSecret;
        sink.onLine(line);
      }
      updatesAllowed = false;
    }
    return true;
  }

  /** Literal with a name from a table (`index` above 0) or of its own. */
  private literal(buf: Buffer, index: number): Line | null {
    if (index < 0) return null;
    let name: Name;
    if (index > 0) {
      const line = this.line(index);
      if (line === null) return null;
      name = line.name;
    } else {
      const text = this.text(buf);
      if (text === null) return null;
      name = nameOf(text);
    }
    const value = this.text(buf);
    return value === null ? null : new Line(name, value);
  }

  /** RFC 7541 section 5.2. */
  private text(buf: Buffer): string | null {
    if (this.at >= this.end) return cut();
    const isCoded = buf[this.at]! >= 128;
    const length = this.integer(127);
    if (length < 0) return null;
    const start = this.at;
    const after = start + length;
    if (after > this.end) return cut();
    this.at = after;
    if (!isCoded) return length === 0 ? "" : latin1(buf, start, after);
    const text = huffmanDecode(buf, start, after);
    if (text === null) wrong("an invalid Huffman code");
    return text;
  }

  /** RFC 7541 section 5.1; `mask` is also the largest value of the prefix. -1: wrong. */
  private integer(mask: number): number {
    const { buf, end } = this;
    let value = buf[this.at++]! & mask;
    if (value < mask) return value;
    for (let shift = 0; ; shift += 7) {
      if (this.at >= end) {
        cut();
        return -1;
      }
      const byte = buf[this.at++]!;
      // multiplied, not shifted: five groups are more than 32 bits
      value += (byte & 127) * 2 ** shift;
      if (value > INTEGER_MAX || shift > 28) {
        wrong("an integer that is too large");
        return -1;
      }
      if (byte < 128) return value;
    }
  }

  private line(index: number): Line | null {
    if (index > staticCount) {
      const n = this.inserted - (index - staticCount);
      if (n >= this.evicted) return this.ring[n & this.mask]!;
    } else if (index > 0) return staticLines[index]!;
    if (index >= 0) wrong(`index ${index}, which no table has`);
    return null;
  }

  private insert(line: Line): void {
    this.evict(line.size);
    // RFC 7541 section 4.4: one that is larger than the table empties it, and is no error
    if (line.size > this.maxBytes) return;
    this.usedBytes += line.size;
    this.ring[this.inserted++ & this.mask] = line;
  }

  private evict(room: number): void {
    while (this.usedBytes + room > this.maxBytes && this.evicted < this.inserted) {
      const slot = this.evicted++ & this.mask;
      this.usedBytes -= this.ring[slot]!.size;
      this.ring[slot] = null;
    }
  }
}

const EMPTY = new Uint8Array(0);

function wrong(why: string): false {
  hpackFailure = why;
  return false;
}

function cut(): null {
  hpackFailure = "a block that ends inside a field";
  return null;
}
