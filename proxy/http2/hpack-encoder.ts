/** Field lines to header blocks (RFC 7541): the encoding half of HPACK. What repeats is sent once and then costs a byte. */

import { secretNames } from "./field-names.ts";
import { huffmanEncode, huffmanLength } from "./huffman.ts";
import { staticCount, staticLines, staticNames, staticPairs } from "./static-table.ts";

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
    this.secret = secretNames.includes(lower);
    this.plan = this.secret ? Plan.never : changing.includes(lower) ? Plan.literal : Plan.index;
  }
}

/** A name as somebody spells it. */
class Spelling {
  readonly text: string;
  readonly plan: NamePlan;

  constructor(text: string, plan: NamePlan) {
    this.text = text;
    this.plan = plan;
  }
}

/** By name as received, in any case. */
const spellings = new Map<string, Spelling>();
const SPELLINGS_MAX = 2048;

function spellingOf(name: string): Spelling {
  const found = spellings.get(name);
  if (found !== undefined) return found;
  const lower = name.toLowerCase();
  const plan = (lower === name ? undefined : spellings.get(lower)?.plan) ?? new NamePlan(lower);
  // strangers invent names: what they wash out is learned again
  if (spellings.size >= SPELLINGS_MAX) spellings.clear();
  const spelling = new Spelling(copyOf(name), plan);
  spellings.set(spelling.text, spelling);
  return spelling;
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

/**
 * What was written last at one place of a block. Heads on one connection are much alike, so the next one mostly has the
 * same there, or at least the same name: then nothing has to be cut out and looked up.
 */
class Place {
  spelling: Spelling = unnamed;
  /** Valid while it has not been evicted. */
  entry: Entry | null = null;
  /** Index of a whole line of the static table; 0: it was none. */
  pair = 0;
}

const unnamed = new Spelling("", new NamePlan(""));

/** Places that are remembered, a power of two; where {@link HpackEncoder.begin} has trailers begin. */
const PLACES = 64;
export const trailerPlace = 48;

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
  private readonly places: Place[] = [];
  /** Of the next line of the block. */
  private nextPlace = 0;

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

  /**
   * Begins a block: writes the table size updates that are due.
   * @param place 0 for a head, {@link trailerPlace} for trailers
   */
  begin(out: Buffer, at: number, place = 0): number {
    this.nextPlace = place;
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
        return this.field(out, at, ":status", String(status));
    }
  }

  /**
   * Writes one field line, which is `text.slice(start, end)`.
   * @param nameEnd index after the name, which is in any case and is sent in lower case
   * @param valueStart index of the first character of the value
   */
  line(
    out: Buffer,
    at: number,
    text: string,
    start: number,
    nameEnd: number,
    valueStart: number,
    end: number,
  ): number {
    const place = this.place();
    const { entry } = place;
    if (
      entry !== null &&
      entry.number >= this.evicted &&
      entry.key.length === end - start &&
      text.startsWith(entry.key, start)
    )
      return this.indexed(out, at, entry);
    let { spelling } = place;
    if (spelling.text.length !== nameEnd - start || !text.startsWith(spelling.text, start))
      place.spelling = spelling = spellingOf(text.slice(start, nameEnd));
    const { plan } = spelling;
    if (plan.plan !== Plan.index) return literal(out, at, plan, text.slice(valueStart, end));
    return this.indexable(out, at, place, text.slice(start, end), text.slice(valueStart, end));
  }

  /** {@link line} from the parts. */
  field(out: Buffer, at: number, name: string, value: string): number {
    const place = this.place();
    const { entry, pair } = place;
    if (entry !== null && entry.number >= this.evicted) {
      // lengths first: the text between name and value is as somebody wrote it
      if (
        entry.plan.lower.length === name.length &&
        entry.size === name.length + value.length + 32 &&
        entry.key.startsWith(name) &&
        entry.key.endsWith(value)
      )
        return this.indexed(out, at, entry);
    } else if (pair !== 0) {
      const line = staticLines[pair]!;
      if (line.value === value && line.name.text === name) {
        out[at] = 128 | pair;
        return at + 1;
      }
    }
    let { spelling } = place;
    if (spelling.text !== name) place.spelling = spelling = spellingOf(name);
    const { plan } = spelling;
    if (plan.plan !== Plan.index) return literal(out, at, plan, value);
    return this.indexable(out, at, place, `${name}: ${value}`, value);
  }

  /** {@link field} that nobody on the way may keep in a table (RFC 7541 section 6.2.3). */
  secret(out: Buffer, at: number, name: string, value: string): number {
    this.nextPlace++;
    return literal(out, at, spellingOf(name).plan, value, 16);
  }

  private place(): Place {
    const i = this.nextPlace++ & (PLACES - 1);
    return (this.places[i] ??= new Place());
  }

  private indexed(out: Buffer, at: number, entry: Entry): number {
    entry.isUsed = true;
    return writeInteger(out, at, 128, 127, staticCount + this.inserted - entry.number);
  }

  /** A line that is in the table, or goes into it if it may. */
  private indexable(out: Buffer, at: number, place: Place, line: string, value: string): number {
    const entry = this.byLine.get(line);
    if (entry !== undefined) {
      place.entry = entry;
      return this.indexed(out, at, entry);
    }
    const { plan } = place.spelling;
    const pair = staticPairs.get(line);
    place.pair = pair ?? 0;
    place.entry = null;
    if (pair !== undefined) {
      out[at] = 128 | pair;
      return at + 1;
    }
    const size = plan.lower.length + value.length + 32;
    if (plan.worth <= WORTHLESS || size > this.maxBytes >>> 1) return literal(out, at, plan, value);
    at = writeInteger(out, at, 64, 63, plan.staticIndex);
    if (plan.staticIndex === 0) at = writeText(out, at, plan.lower);
    at = writeText(out, at, value);
    place.entry = this.insert(copyOf(line), plan, size);
    return at;
  }

  private insert(key: string, plan: NamePlan, size: number): Entry {
    this.makeRoom(size);
    this.usedBytes += size;
    const entry = new Entry(key, plan, size, this.inserted);
    this.entries ??= [];
    this.entries[this.inserted++ & MASK] = entry;
    this.byLine.set(key, entry);
    return entry;
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

/** Of a name that is not indexed. */
/** @param first 16: never indexed, on no hop; 0: not indexed here */
function literal(
  out: Buffer,
  at: number,
  plan: NamePlan,
  value: string,
  first = plan.plan === Plan.never ? 16 : 0,
): number {
  at = writeInteger(out, at, first, 15, plan.staticIndex);
  if (plan.staticIndex === 0) at = writePlain(out, at, plan.lower);
  return writePlain(out, at, value);
}

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
