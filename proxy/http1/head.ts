/** Strict parsing of request and response heads (RFC 9112): what two parsers could read differently is refused. */

import { Kind, type Fields } from "../http/fields.ts";
import { latin1 } from "../http/latin1.ts";
import type { RequestHead, ResponseHead } from "../http/head.ts";
import {
  BAD,
  bad,
  classes,
  claimArrays,
  NEED_MORE,
  scanFields,
  TARGET,
  TOKEN,
  tooLarge,
} from "./scan.ts";

export interface HeadLimits {
  readonly headerBytes: number;
  readonly headerCount: number;
}

const versions = Buffer.from("HTTP/1.", "latin1");

/** The usual methods, so that no request makes its own copy of "GET". */
const methodNames = new Map<number, string>();
for (const name of ["GET", "PUT", "POST", "HEAD", "PATCH", "DELETE", "OPTIONS"]) {
  methodNames.set(methodKey(Buffer.from(name, "latin1"), 0, name.length), name);
}

function methodKey(buf: Uint8Array, start: number, length: number): number {
  let key = length;
  for (let i = 0; i < length; i++) key = (key * 31 + buf[start + i]!) | 0;
  return key;
}

function methodAt(buf: Buffer, start: number, end: number): string {
  const known = methodNames.get(methodKey(buf, start, end - start));
  if (known === undefined || known.length !== end - start) return latin1(buf, start, end);
  for (let i = 0; i < known.length; i++)
    if (buf[start + i] !== known.charCodeAt(i)) return latin1(buf, start, end);
  return known;
}

/**
 * Parses a request head at `start`.
 * @returns index after the head, NEED_MORE, BAD or TOO_LARGE (`scanFailure` says why)
 */
export function parseRequestHead(
  buf: Buffer,
  start: number,
  end: number,
  head: RequestHead,
  limits: HeadLimits,
): number {
  let i = start;
  if (i < end && buf[i] === 13) {
    // RFC 9112 section 2.2: one empty line before the request line is forgiven
    if (i + 1 >= end) return NEED_MORE;
    if (buf[i + 1] !== 10) return bad("CR without LF before the request line");
    i += 2;
  }
  const lineStart = i;
  if (i >= end) return NEED_MORE;
  let c = buf[i]!;
  while ((classes[c]! & TOKEN) !== 0) {
    if (++i >= end) return shortOf(i - start, limits);
    c = buf[i]!;
  }
  if (c !== 32 || i === lineStart || i - lineStart > 32)
    return bad("no valid method at the start of the request line");
  const methodEnd = i;
  const targetStart = ++i;
  if (i >= end) return NEED_MORE;
  c = buf[i]!;
  while ((classes[c]! & TARGET) !== 0) {
    if (++i >= end) return shortOf(i - start, limits);
    c = buf[i]!;
  }
  if (c !== 32 || i === targetStart)
    return bad(
      c === 35 ? "a fragment in the request target" : "no valid target in the request line",
    );
  const targetEnd = i++;
  if (i + 10 > end) {
    for (let k = 0; k < versions.length && i + k < end; k++)
      if (buf[i + k] !== versions[k]) return bad("unknown protocol version");
    return NEED_MORE;
  }
  for (let k = 0; k < versions.length; k++)
    if (buf[i + k] !== versions[k]) return bad("unknown protocol version");
  const minor = buf[i + 7];
  if (minor !== 49 && minor !== 48) return bad("unknown protocol version");
  if (buf[i + 8] !== 13 || buf[i + 9] !== 10) return bad("request line not ended by CRLF");
  i += 10;
  const fields = head.headers;
  claimArrays(fields);
  const after = scanFields(buf, i, end, lineStart, fields, limits.headerCount);
  if (after < 0) return after === NEED_MORE ? shortOf(end - start, limits) : after;
  if (after - start > limits.headerBytes) return shortOf(after - start, limits);
  const raw = latin1(buf, lineStart, after);
  fields.raw = raw;
  head.method = methodAt(buf, lineStart, methodEnd);
  head.target = raw.slice(targetStart - lineStart, targetEnd - lineStart);
  head.version = minor === 49 ? 11 : 10;
  head.keepAlive = minor === 49;
  return judgeRequest(head) === BAD ? BAD : after;
}

function shortOf(length: number, limits: HeadLimits): number {
  return length > limits.headerBytes
    ? tooLarge(`head larger than ${limits.headerBytes} bytes`)
    : NEED_MORE;
}

/** Fields that a Connection field must not name: dropping them would change who asks or what is asked. */
function mayNotBeNamed(lower: string): boolean {
  switch (lower) {
    case "host":
    case "authorization":
    case "cookie":
    case "content-length":
    case "content-type":
    case "transfer-encoding":
    case "forwarded":
      return true;
    default:
      return lower.startsWith("x-forwarded-") || lower.startsWith("x-weft-");
  }
}

function judgeRequest(head: RequestHead): number {
  const fields = head.headers;
  const kinds = fields.kinds;
  let hosts = 0;
  let lengths = 0;
  let codings = 0;
  let chunked = false;
  let length = 0;
  let authority = "";
  let upgrade: string | null = null;
  let upgradeNamed = false;
  let closes = false;
  for (let i = 0; i < fields.count; i++) {
    switch (kinds[i]) {
      case Kind.host:
        hosts++;
        authority = fields.valueAt(i);
        break;
      case Kind.contentLength:
        lengths++;
        length = toLength(fields.valueAt(i));
        if (length < 0) return bad("Content-Length is not a plain decimal number");
        break;
      case Kind.transferEncoding:
        codings++;
        chunked = !hasTab(fields, i) && fields.valueAt(i).toLowerCase() === "chunked";
        break;
      case Kind.connection: {
        if (fields.valueIs(i, "keep-alive")) {
          head.keepAlive = !closes;
          break;
        }
        for (const part of fields.valueAt(i).split(",")) {
          const token = part.trim().toLowerCase();
          if (token === "close") {
            closes = true;
            head.keepAlive = false;
          } else if (token === "keep-alive") head.keepAlive = !closes;
          else if (token === "upgrade") upgradeNamed = true;
          else if (token !== "") {
            if (mayNotBeNamed(token)) return bad(`Connection names ${token}`);
            markNamed(fields, token);
          }
        }
        break;
      }
      case Kind.upgrade:
        upgrade = upgrade === null ? fields.valueAt(i) : `${upgrade}, ${fields.valueAt(i)}`;
        break;
      case Kind.expect:
        if (fields.valueAt(i).toLowerCase() !== "100-continue")
          return bad("unknown expectation in Expect");
        head.expectContinue = true;
        break;
    }
  }
  if (hosts > 1) return bad("more than one Host field");
  if (hosts === 0 && head.version === 11) return bad("no Host field");
  if (lengths > 1) return bad("more than one Content-Length field");
  if (codings > 0) {
    if (codings > 1 || !chunked) return bad('Transfer-Encoding is not exactly "chunked"');
    if (lengths > 0) return bad("both Content-Length and Transfer-Encoding");
    if (head.version === 10) return bad("Transfer-Encoding in an HTTP/1.0 request");
    head.framing = "chunked";
    head.contentLength = -1;
  } else {
    head.framing = lengths > 0 ? "length" : "none";
    head.contentLength = length;
  }
  if (
    upgradeNamed &&
    upgrade !== null &&
    head.framing !== "chunked" &&
    length === 0 &&
    head.version === 11
  )
    head.upgrade = upgrade;
  return judgeTarget(head, authority);
}

function markNamed(fields: Fields, lower: string): void {
  for (let i = 0; i < fields.count; i++) {
    const kind = fields.kinds[i];
    if (
      kind !== Kind.connection &&
      kind !== Kind.te &&
      kind !== Kind.upgrade &&
      fields.nameIs(i, lower)
    )
      fields.kinds[i] = Kind.named;
  }
}

/** The four forms of RFC 9112 section 3.2; leaves an origin-form (or `*`) target and one authority. */
function judgeTarget(head: RequestHead, authority: string): number {
  const target = head.target;
  authority = authority.toLowerCase();
  if (target.charCodeAt(0) === 47) {
    if (head.method === "CONNECT") return bad("CONNECT wants host:port");
    head.authority = authority;
  } else if (head.method === "CONNECT") {
    if (!isAuthority(target.toLowerCase()) || !/:\d+$/.test(target))
      return bad("CONNECT wants host:port");
    if (authority !== "" && !sameAuthority(authority, target.toLowerCase()))
      return bad("Host differs from the target");
    head.authority = target.toLowerCase();
  } else if (target === "*") {
    if (head.method !== "OPTIONS") return bad("target * is for OPTIONS alone");
    head.authority = authority;
  } else {
    const match = /^https?:\/\/([^/?]*)/i.exec(target);
    if (match === null) return bad("request target is neither a path nor an http URL");
    const named = match[1]!.toLowerCase();
    if (named === "" || named.includes("@")) return bad("request target has no plain host");
    if (authority !== "" && !sameAuthority(authority, named))
      return bad("Host differs from the absolute target");
    const rest = target.slice(match[0].length);
    head.target =
      rest === ""
        ? head.method === "OPTIONS"
          ? "*"
          : "/"
        : rest.charCodeAt(0) === 63
          ? `/${rest}`
          : rest;
    head.authority = named;
  }
  if (head.authority !== "" && !isAuthority(head.authority))
    return bad("Host is not a host name with an optional port");
  head.host = hostOf(head.authority);
  return 0;
}

function sameAuthority(a: string, b: string): boolean {
  return a === b || a.replace(/:(80|443)$/, "") === b.replace(/:(80|443)$/, "");
}

/** The last authority judged and its verdict: one caller mostly repeats one Host. */
let judgedAuthority = "";
let judgedHost = "";

function isAuthority(authority: string): boolean {
  if (authority === judgedAuthority) return true;
  if (!/^(?:[a-z0-9._~-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?$/.test(authority)) return false;
  judgedAuthority = authority;
  judgedHost =
    authority.charCodeAt(0) === 91
      ? authority.slice(0, authority.indexOf("]") + 1)
      : authority.replace(/:[0-9]+$/, "");
  if (judgedHost.endsWith(".")) judgedHost = judgedHost.slice(0, -1);
  return true;
}

function hostOf(authority: string): string {
  return authority === "" ? "" : authority === judgedAuthority ? judgedHost : "";
}

/** A tab beside the value: white space for some parsers, part of the value for others (llhttp, nginx). */
function hasTab({ raw, offsets }: Fields, i: number): boolean {
  for (let at = offsets[i * 4 + 1]!; at < offsets[i * 4 + 2]!; at++)
    if (raw.charCodeAt(at) === 9) return true;
  for (let at = offsets[i * 4 + 3]!; raw.charCodeAt(at) !== 13; at++)
    if (raw.charCodeAt(at) === 9) return true;
  return false;
}

/** Digits only, up to 15 of them; -1 otherwise. */
function toLength(value: string): number {
  if (value.length === 0 || value.length > 15) return -1;
  let n = 0;
  for (let i = 0; i < value.length; i++) {
    const digit = value.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return -1;
    n = n * 10 + digit;
  }
  return n;
}

/**
 * Parses a response head at `start`; `method` is that of the request, since it decides about the body (RFC 9112 section 6.3).
 * @returns index after the head, NEED_MORE, BAD or TOO_LARGE
 */
export function parseResponseHead(
  buf: Buffer,
  start: number,
  end: number,
  head: ResponseHead,
  method: string,
  limits: HeadLimits,
): number {
  if (end - start < 15) {
    for (let k = 0; k < versions.length && start + k < end; k++)
      if (buf[start + k] !== versions[k]) return bad("the answer does not start with HTTP/1.");
    return NEED_MORE;
  }
  for (let k = 0; k < versions.length; k++)
    if (buf[start + k] !== versions[k]) return bad("the answer does not start with HTTP/1.");
  const minor = buf[start + 7];
  if (minor !== 49 && minor !== 48) return bad("unknown protocol version in the answer");
  if (buf[start + 8] !== 32) return bad("no status code in the answer");
  const hundreds = buf[start + 9]! - 48;
  const tens = buf[start + 10]! - 48;
  const ones = buf[start + 11]! - 48;
  if (hundreds < 1 || hundreds > 9 || tens < 0 || tens > 9 || ones < 0 || ones > 9)
    return bad("no status code in the answer");
  let i = start + 12;
  let c = buf[i]!;
  if (c === 32) {
    c = buf[++i]!;
    while ((classes[c]! & 2) !== 0) {
      if (++i >= end) return shortOf(i - start, limits);
      c = buf[i]!;
    }
  }
  if (c !== 13) return bad("status line not ended by CRLF");
  if (i + 1 >= end) return NEED_MORE;
  if (buf[i + 1] !== 10) return bad("status line not ended by CRLF");
  const reasonEnd = i;
  i += 2;
  const fields = head.headers;
  claimArrays(fields);
  const after = scanFields(buf, i, end, start, fields, limits.headerCount);
  if (after < 0) return after === NEED_MORE ? shortOf(end - start, limits) : after;
  if (after - start > limits.headerBytes) return shortOf(after - start, limits);
  const raw = latin1(buf, start, after);
  fields.raw = raw;
  head.status = hundreds * 100 + tens * 10 + ones;
  head.reason = raw.slice(13, reasonEnd - start);
  head.version = minor === 49 ? 11 : 10;
  return judgeResponse(head, method) === BAD ? BAD : after;
}

function judgeResponse(head: ResponseHead, method: string): number {
  const fields = head.headers;
  const kinds = fields.kinds;
  head.keepAlive = head.version === 11;
  let lengths = 0;
  let length = -1;
  let codings = 0;
  let chunked = false;
  for (let i = 0; i < fields.count; i++) {
    switch (kinds[i]) {
      case Kind.contentLength:
        lengths++;
        length = toLength(fields.valueAt(i));
        if (length < 0) return bad("Content-Length of the answer is not a plain decimal number");
        break;
      case Kind.transferEncoding:
        codings++;
        chunked = !hasTab(fields, i) && fields.valueAt(i).toLowerCase() === "chunked";
        break;
      case Kind.connection: {
        if (fields.valueIs(i, "keep-alive")) {
          if (head.version === 10) head.keepAlive = true;
          break;
        }
        for (const part of fields.valueAt(i).split(",")) {
          const token = part.trim().toLowerCase();
          if (token === "close") head.keepAlive = false;
          else if (token === "keep-alive") {
            if (head.version === 10) head.keepAlive = true;
          } else if (token !== "" && token !== "upgrade") {
            if (mayNotBeNamed(token)) return bad(`Connection of the answer names ${token}`);
            markNamed(fields, token);
          }
        }
        break;
      }
      case Kind.keepAlive: {
        const timeout = /(?:^|[,\s])timeout=(\d{1,6})/i.exec(fields.valueAt(i));
        if (timeout !== null) head.keepAliveMs = Number(timeout[1]) * 1000;
        break;
      }
      case Kind.upgrade:
        head.upgrade = fields.valueAt(i);
        break;
    }
  }
  if (lengths > 1) return bad("more than one Content-Length field in the answer");
  if (codings > 0) {
    if (codings > 1 || !chunked)
      return bad('Transfer-Encoding of the answer is not exactly "chunked"');
    if (lengths > 0) return bad("both Content-Length and Transfer-Encoding in the answer");
    if (head.version === 10) return bad("Transfer-Encoding in an HTTP/1.0 answer");
  }
  head.contentLength = lengths > 0 ? length : -1;
  if (method === "HEAD" || head.status < 200 || head.status === 204 || head.status === 304) {
    head.framing = "none";
    return 0;
  }
  if (chunked) head.framing = "chunked";
  else if (lengths > 0) head.framing = "length";
  else {
    head.framing = "until-close";
    head.keepAlive = false;
  }
  return 0;
}
