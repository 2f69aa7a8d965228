/** Field lines to header blocks (RFC 7541): the encoding half of HPACK. What repeats is sent once and then costs a byte. */

import { huffmanEncode, huffmanLength } from "./huffman.ts";
import { staticCount, staticNames, staticPairs } from "./static-table.ts";

/** Octets of dynamic table that we use at most, whatever the other side offers: it is our memory too. */
export const encoderTableBytes = 4096;

/** How the values of a name are sent. */
const Plan = {
  /** Goes into the dynamic table. */
  index: 0,
  /** Differs with every message: the table would only be washed out. */
  literal: 1,
  /** Secrets and what can be guessed bit by bit (RFC 7541 section 7.1.3): no hop may index it. */
  never: 2,
} as const;

/** Names whose values rarely come twice. */
const changing = [
  ":path", "age", "content-length", "content-range", "etag", "expires", "if-modified-since", "if-none-match", "last-modified", "location",
  "referer", "x-request-id", "traceparent", "tracestate", "grpc-timeout", "grpc-message", "x-weft-attempts", "retry-after", "grpc-status-details-bin",
  "link", "content-disposition", "x-request-timeout-ms", "x-envoy-expected-rq-timeout-ms", "digest", "content-md5", "x-amz-request-id", "cf-ray",
]; // prettier-ignore

const secret = ["authorization", "proxy-authorization", "cookie", "set-cookie"];
/** Longer secrets cannot be guessed, but they rarely repeat either. */

/** What is known of a name: shared by all connections of a thread. */
class NamePlan {
  readonly lower: string;
  readonly staticIndex: number;
  readonly secret: boolean;
  plan: number;
  /** Entries that were used again less those that were evicted unused: a name that never repeats stops being indexed. */
  worth = 0;

  constructor(lower: string) {
    this.lower = lower;
    this.staticIndex = staticNames.get(lower) ?? 0;
    this.secret = secret.includes(lower);
    this.plan = this.secret ? Plan.never : changing.includes(lower) ? Plan.literal : Plan.index;
  }
}

/** By name as received, in any case. */
const plans = new Map<string, NamePlan>();
const PLANS_MAX = 2048;

function planOf(name: string): NamePlan {
  const found = plans.get(name);
  if (found !== undefined) return found;
  const lower = name.toLowerCase();
  const plan = (lower === name ? undefined : plans.get(lower)) ?? new NamePlan(lower);
  // strangers invent names: what they wash out is learned again
  if (plans.size >= PLANS_MAX) plans.clear();
  plans.set(copyOf(name), plan);
  return plan;
}

/** A slice keeps the whole text alive that it was cut from; a copy does not. */
function copyOf(text: string): string {
  return Buffer.from(text, "latin1").latin1Slice();
}

declare global {
  interface Buffer {
    latin1Slice(start?: number, end?: number): string;
    latin1Write(text: string, offset: number): number;
  }
}

class Entry {
  readonly key: string;
  readonly plan: NamePlan;
  readonly size: number;
  /** Position in the order of all insertions. */
  readonly number: number;
  isUsed = false;

  constructor(key: string, plan: NamePlan, size: number, number: number) {
    this.key = key;
    this.plan = plan;
    this.size = size;
    this.number = number;
  }
}

/** Wasted entries after which a name is no longer indexed. */
const WORTHLESS = -16;
const WORTH_MAX = 64;

/** One direction of one connection. */
export class HpackEncoder {
  private maxBytes = encoderTableBytes;
  /** A table size update is due; the smallest size since the last one, for RFC 7541 section 4.2. */
  private updateDue = false;
  private smallestBytes = encoderTableBytes;
  private usedBytes = 0;
  private entries: (Entry | null)[] | null = null;
  private inserted = 0;
  private evicted = 0;
  /** Per line as received (`Name: value`): its entry. Several spellings of one line are several entries. */
  private readonly byLine = new Map<string, Entry>();

  /** SETTINGS_HEADER_TABLE_SIZE of the other side. */
  setLimit(bytes: number): void {
    const size = Math.min(bytes, encoderTableBytes);
    if (size === this.maxBytes) return;
    this.updateDue = true;
    this.smallestBytes = Math.min(this.smallestBytes, size);
    this.maxBytes = size;
    this.makeRoom(0);
  }

  /** Upper bound on what a line of so many characters takes, and {@link begin}. */
  static bound(characters: number): number {
    return characters + 12;
  }

  /** Begins a block: writes the table size updates that are due. */
  begin(out: Buffer, at: number): number {
    if (!this.updateDue) return at;
    this.updateDue = false;
    const smallest = this.smallestBytes;
    this.smallestBytes = this.maxBytes;
    if (smallest < this.maxBytes) at = writeInteger(out, at, 32, 31, smallest);
    return writeInteger(out, at, 32, 31, this.maxBytes);
  }

  /** `:status`. */
  status(out: Buffer, at: number, status: number): number {
    switch (status) {
      case 200:
        out[at] = 0x88;
        return at + 1;
      case 204:
        out[at] = 0x89;
        return at + 1;
      case 206:
        out[at] = 0x8a;
        return at + 1;
      case 304:
        out[at] = 0x8b;
        return at + 1;
      case 400:
        out[at] = 0x8c;
        return at + 1;
      case 404:
        out[at] = 0x8d;
        return at + 1;
      case 500:
        out[at] = 0x8e;
        return at + 1;
      default:
        return this.line(out, at, `:status: ${status}`, 7, 9);
    }
  }

  /**
   * Writes one field line.
   * @param line `name: value`; the name in any case, it is sent in lower case
   * @param nameLength characters of the name
   * @param valueStart index of the first character of the value
   */
  line(out: Buffer, at: number, line: string, nameLength: number, valueStart: number): number {
    const entry = this.byLine.get(line);
    if (entry !== undefined) {
      entry.isUsed = true;
      return writeInteger(out, at, 128, 127, staticCount + this.inserted - entry.number);
    }
    return this.newLine(out, at, line, nameLength, valueStart);
  }

  /** {@link line} from the parts. */
  field(out: Buffer, at: number, name: string, value: string): number {
    return this.line(out, at, `${name}: ${value}`, name.length, name.length + 2);
  }

  private newLine(
    out: Buffer,
    at: number,
    line: string,
    nameLength: number,
    valueStart: number,
  ): number {
    const plan = planOf(line.slice(0, nameLength));
    const value = line.slice(valueStart);
    const size = nameLength + value.length + 32;
    if (plan.plan === Plan.index && plan.worth > WORTHLESS && size <= this.maxBytes >>> 1) {
      const pair = staticPairs.get(line);
      if (pair !== undefined) {
        out[at] = 128 | pair;
        return at + 1;
      }
      at = writeInteger(out, at, 64, 63, plan.staticIndex);
      if (plan.staticIndex === 0) at = writeText(out, at, plan.lower);
      at = writeText(out, at, value);
      this.insert(copyOf(line), plan, size);
      return at;
    }
    const first = plan.plan === Plan.never ? 16 : 0;
    at = writeInteger(out, at, first, 15, plan.staticIndex);
    if (plan.staticIndex === 0) at = writePlain(out, at, plan.lower);
    return writePlain(out, at, value);
  }

  private insert(key: string, plan: NamePlan, size: number): void {
    this.makeRoom(size);
    this.usedBytes += size;
    const entry = new Entry(key, plan, size, this.inserted);
    this.entries ??= [];
    this.entries[this.inserted++ & MASK] = entry;
    this.byLine.set(key, entry);
  }

  private makeRoom(room: number): void {
    while (this.usedBytes + room > this.maxBytes && this.evicted < this.inserted) {
      const slot = this.evicted++ & MASK;
      const entry = this.entries![slot]!;
      this.entries![slot] = null;
      this.usedBytes -= entry.size;
      this.byLine.delete(entry.key);
      const { plan } = entry;
      if (entry.isUsed) plan.worth = Math.min(plan.worth + 1, WORTH_MAX);
      else plan.worth--;
    }
  }
}

/** An entry takes at least 32 octets. */
const MASK = encoderTableBytes / 32 - 1;

/** RFC 7541 section 5.1. */
function writeInteger(
  out: Uint8Array,
  at: number,
  first: number,
  mask: number,
  value: number,
): number {
  if (value < mask) {
    out[at] = first | value;
    return at + 1;
  }
  out[at++] = first | mask;
  value -= mask;
  while (value >= 128) {
    out[at++] = (value & 127) | 128;
    value >>>= 7;
  }
  out[at] = value;
  return at + 1;
}

/** For what goes into the table: short bytes once, used many times. */
function writeText(out: Buffer, at: number, text: string): number {
  const coded = huffmanLength(text);
  if (coded >= text.length) return writePlain(out, at, text);
  return huffmanEncode(text, out, writeInteger(out, at, 128, 127, coded));
}

/** For what is sent once: the bits that Huffman saves cost more CPU than they are worth. */
function writePlain(out: Buffer, at: number, text: string): number {
  const { length } = text;
  at = writeInteger(out, at, 0, 127, length);
  if (length < 24) {
    for (let i = 0; i < length; i++) out[at + i] = text.charCodeAt(i);
    return at + length;
  }
  return at + out.latin1Write(text, at);
}
