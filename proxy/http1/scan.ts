/** Bytes of an HTTP/1.1 field section to offsets: one pass, nothing copied, nothing guessed. */

import { Kind, type Fields } from "../http/fields.ts";

/** Character classes, one bit each. */
export const TOKEN = 1;
export const VALUE = 2;
export const TARGET = 4;
export const HEX = 8;
const UNDERSCORE = 16;

/** Per byte: which classes it belongs to (RFC 9110 sections 5.5 and 5.6.2, RFC 3986; bytes above 0x7f only in values). */
export const classes = new Uint8Array(256);
for (const char of "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
  classes[char.charCodeAt(0)]! |= TOKEN;
for (let c = 0x20; c < 0x100; c++) if (c !== 0x7f) classes[c]! |= VALUE;
classes[9]! |= VALUE;
for (let c = 0x21; c < 0x7f; c++) if (c !== 0x23) classes[c]! |= TARGET;
for (const char of "0123456789abcdefABCDEF") classes[char.charCodeAt(0)]! |= HEX;
classes[95]! |= UNDERSCORE;

/** The head is not complete yet. */
export const NEED_MORE = -1;
/** The bytes are wrong; {@link scanFailure} says how. */
export const BAD = -2;
/** More fields, or more bytes, than allowed. */
export const TOO_LARGE = -3;

/** What was wrong in the last scan that returned BAD or TOO_LARGE: a plain sentence. */
export let scanFailure = "";

/** Notes what is wrong and returns BAD. */
export function bad(why: string): number {
  scanFailure = why;
  return BAD;
}

/** Notes what is too large and returns TOO_LARGE. */
export function tooLarge(why: string): number {
  scanFailure = why;
  return TOO_LARGE;
}

const offsetsPool: Int32Array[] = [];
const kindsPool: Uint8Array[] = [];
const INITIAL_FIELDS = 32;
const POOL_MAX = 1024;

/** Gives a field section its arrays, from the pool of this thread. */
export function claimArrays(fields: Fields): void {
  if (fields.kinds.length !== 0) return;
  fields.offsets = offsetsPool.pop() ?? new Int32Array(INITIAL_FIELDS * 4);
  fields.kinds = kindsPool.pop() ?? new Uint8Array(INITIAL_FIELDS);
  fields.count = 0;
}

const NO_OFFSETS = new Int32Array(0);
const NO_KINDS = new Uint8Array(0);

/** Takes the arrays back. Whoever still holds the fields sees none, never another request's. */
export function releaseArrays(fields: Fields): void {
  if (fields.offsets.length === INITIAL_FIELDS * 4 && offsetsPool.length < POOL_MAX) {
    offsetsPool.push(fields.offsets);
    kindsPool.push(fields.kinds);
  }
  fields.offsets = NO_OFFSETS;
  fields.kinds = NO_KINDS;
  fields.count = 0;
  fields.raw = "";
  fields.edits = fields.secrets = null;
}

/** Makes room for twice as many fields. */
export function growArrays(fields: Fields): void {
  const offsets = new Int32Array(fields.offsets.length * 2);
  offsets.set(fields.offsets);
  const kinds = new Uint8Array(fields.kinds.length * 2);
  kinds.set(fields.kinds);
  fields.offsets = offsets;
  fields.kinds = kinds;
}

/**
 * Scans field lines from `at` up to and including the empty line.
 * @param base index in `buf` that offset 0 of the fields' text will stand for
 * @returns index after the empty line, or NEED_MORE, BAD, TOO_LARGE
 */
export function scanFields(
  buf: Uint8Array,
  at: number,
  end: number,
  base: number,
  fields: Fields,
  maxCount: number,
): number {
  let i = at;
  let count = 0;
  let offsets = fields.offsets;
  let kinds = fields.kinds;
  for (;;) {
    if (i >= end) return NEED_MORE;
    let c = buf[i]!;
    if (c === 13) {
      if (i + 1 >= end) return NEED_MORE;
      if (buf[i + 1] !== 10) return bad("CR without LF in the head");
      fields.count = count;
      return i + 2;
    }
    const nameStart = i;
    let seen = 0;
    for (let of = classes[c]!; (of & TOKEN) !== 0; of = classes[c]!) {
      seen |= of;
      if (++i >= end) return NEED_MORE;
      c = buf[i]!;
    }
    if (c !== 58 || i === nameStart) return bad(badName(c, i === nameStart));
    const nameEnd = i;
    do {
      if (++i >= end) return NEED_MORE;
      c = buf[i]!;
    } while (c === 32 || c === 9);
    const valueStart = i;
    while ((classes[c]! & VALUE) !== 0) {
      if (++i >= end) return NEED_MORE;
      c = buf[i]!;
    }
    if (c !== 13)
      return bad(
        c === 10
          ? "line ended by LF without CR"
          : `control character 0x${c.toString(16).padStart(2, "0")} in a field value`,
      );
    if (i + 1 >= end) return NEED_MORE;
    if (buf[i + 1] !== 10) return bad("CR without LF in a field value");
    let valueEnd = i;
    while (valueEnd > valueStart && (buf[valueEnd - 1] === 32 || buf[valueEnd - 1] === 9))
      valueEnd--;
    i += 2;
    if (count === maxCount) return tooLarge(`more than ${maxCount} header fields`);
    if (count === kinds.length) {
      growArrays(fields);
      offsets = fields.offsets;
      kinds = fields.kinds;
    }
    const o = count * 4;
    offsets[o] = nameStart - base;
    offsets[o + 1] = nameEnd - base;
    offsets[o + 2] = valueStart - base;
    offsets[o + 3] = valueEnd - base;
    const kind = knownKind(buf, nameStart, nameEnd - nameStart);
    kinds[count] = kind === Kind.other && (seen & UNDERSCORE) !== 0 ? Kind.underscore : kind;
    count++;
  }
}

function badName(c: number, empty: boolean): string {
  if (c === 32 || c === 9)
    return empty ? "folded header line" : "white space before the colon of a header field";
  if (c === 10) return "line ended by LF without CR";
  if (c === 13) return "header line without a colon";
  if (c === 58) return "empty header field name";
  return `character 0x${c.toString(16).padStart(2, "0")} in a header field name`;
}

interface Known {
  readonly name: Uint8Array;
  readonly kind: number;
  readonly prefix: boolean;
}

/** Known names by length and first letter; prefixes by first letter. */
const knownByShape: (readonly Known[] | undefined)[] = [];
const prefixes: (readonly Known[] | undefined)[] = [];

function know(name: string, kind: number): void {
  const prefix = name.endsWith("*");
  const bytes = Buffer.from(prefix ? name.slice(0, -1) : name, "latin1");
  const table = prefix ? prefixes : knownByShape;
  const key = prefix ? bytes[0]! : shape(bytes.length, bytes[0]!);
  table[key] = [...(table[key] ?? []), { name: bytes, kind, prefix }];
}

function shape(length: number, first: number): number {
  return (length << 5) | (first & 31);
}

know("host", Kind.host);
know("content-length", Kind.contentLength);
know("transfer-encoding", Kind.transferEncoding);
know("connection", Kind.connection);
know("keep-alive", Kind.keepAlive);
know("proxy-connection", Kind.proxyConnection);
know("te", Kind.te);
know("trailer", Kind.trailer);
know("upgrade", Kind.upgrade);
know("expect", Kind.expect);
know("forwarded", Kind.forwarded);
know("x-forwarded-for", Kind.xForwardedFor);
know("x-forwarded-proto", Kind.xForwardedProto);
know("x-forwarded-host", Kind.xForwardedHost);
know("x-forwarded-*", Kind.forwarded);
know("x-request-id", Kind.requestId);
know("traceparent", Kind.traceparent);
know("b3", Kind.b3);
know("x-b3-*", Kind.b3);
know("tracestate", Kind.tracestate);
know("via", Kind.via);
know("x-weft-*", Kind.weft);
know("x-envoy-*", Kind.control);
know("x-request-timeout-ms", Kind.deadline);
know("x-envoy-expected-rq-timeout-ms", Kind.deadline);
know("l5d-*", Kind.control);
know("grpc-timeout", Kind.grpcTimeout);
know("date", Kind.date);
know("server", Kind.server);
know("proxy-authenticate", Kind.proxyAuthenticate);
know("idempotency-key", Kind.idempotencyKey);

/** The {@link Kind} of a field name. */
export function kindOf(buf: Uint8Array, start: number, length: number): number {
  const kind = knownKind(buf, start, length);
  if (kind !== Kind.other) return kind;
  for (let i = start; i < start + length; i++) if (buf[i] === 95) return Kind.underscore;
  return Kind.other;
}

function knownKind(buf: Uint8Array, start: number, length: number): number {
  const first = buf[start]! | 32;
  const same = knownByShape[shape(length, first)];
  if (same !== undefined) {
    for (let k = 0; k < same.length; k++)
      if (startsWith(buf, start, same[k]!.name)) return same[k]!.kind;
  }
  const families = prefixes[first];
  if (families !== undefined) {
    for (let k = 0; k < families.length; k++) {
      const family = families[k]!;
      if (length > family.name.length && startsWith(buf, start, family.name)) return family.kind;
    }
  }
  return Kind.other;
}

function startsWith(buf: Uint8Array, start: number, name: Uint8Array): boolean {
  for (let i = 0; i < name.length; i++) {
    let c = buf[start + i]!;
    if (c >= 65 && c <= 90) c |= 32;
    if (c !== name[i]) return false;
  }
  return true;
}

/** Looks for a token in a comma-separated field value, case-insensitively. */
export function hasToken(value: string, token: string): boolean {
  if (value.length === token.length) return value.toLowerCase() === token;
  for (const part of value.split(",")) if (part.trim().toLowerCase() === token) return true;
  return false;
}
