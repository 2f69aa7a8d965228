/** What a connection speaks, by its first bytes: told as early as one byte can tell, and never by guessing at silence. */

import { looksLikeTls } from "./first-bytes.ts";

/** `more`: what is there may still become HTTP or TLS; `opaque`: it can be neither. */
export type Detected = "more" | "tls" | "http1" | "http2" | "opaque";

/** RFC 9113 section 3.4. */
const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");
/** Of a request line that has not ended: a longer one is left to the parser of HTTP, which has its own limit. */
const maxLine = 8 * 1024;
/** The longest method that is registered is UPDATEREDIRECTREF (IANA, HTTP Method Registry). */
const maxMethod = 24;

/**
 * Looks at everything that a caller has sent so far.
 *
 * HTTP/1 is told by a whole request line, version included, and not by a method alone: `GET key` is also what a client
 * of Redis types. Nothing that begins like TLS or the preface of HTTP/2 is anything else.
 */
export function detect(bytes: Buffer): Detected {
  if (bytes.length === 0) return "more";
  if (looksLikeTls(bytes[0]!)) {
    // the record's version is 3.x; any other byte here is no TLS
    return bytes.length > 1 && bytes[1] !== 3 ? "opaque" : bytes.length > 1 ? "tls" : "more";
  }
  const known = Math.min(bytes.length, preface.length);
  if (bytes.compare(preface, 0, known, 0, known) === 0)
    return known === preface.length ? "http2" : "more";
  return requestLine(bytes);
}

/** `METHOD SP target SP HTTP/1.x` up to its line end (RFC 9112 section 3). */
function requestLine(bytes: Buffer): Detected {
  // empty lines before a request are allowed (RFC 9112 section 2.2), and nobody sends them on a fresh connection
  let at = 0;
  while (at < bytes.length && isMethodByte(bytes[at]!)) at++;
  if (at > maxMethod) return "opaque";
  if (at === bytes.length) return "more";
  if (at === 0 || bytes[at] !== 0x20) return "opaque";
  const end = bytes.indexOf(0x0a, at);
  if (end === -1) {
    if (bytes.length > maxLine) return "http1";
    return hasControl(bytes, at, bytes.length) ? "opaque" : "more";
  }
  const line = bytes.toString("latin1", at, end);
  return / HTTP\/\d\.\d\r?$/.test(line) ? "http1" : "opaque";
}

/** Capital letters and the hyphen: every method in use. */
function isMethodByte(byte: number): boolean {
  return (byte >= 0x41 && byte <= 0x5a) || byte === 0x2d;
}

/** Below a space, but for a CR that may begin the line end. */
function hasControl(bytes: Buffer, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if (bytes[i]! < 0x20 && bytes[i] !== 0x0d) return true;
  return false;
}
