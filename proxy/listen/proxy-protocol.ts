/** The PROXY protocol (v1 text, v2 binary): who connected to the load balancer in front. Strict: what is odd is refused. */

import net from "node:net";
import { crc32c } from "./crc32c.ts";

/** `source` is null when the sender speaks for itself (v1 UNKNOWN, v2 LOCAL): then the socket's address holds. */
export type ProxyHeader =
  | { readonly kind: "more" }
  | { readonly kind: "bad"; readonly why: string }
  | { readonly kind: "header"; readonly length: number; readonly source: ProxySource | null };

export interface ProxySource {
  readonly address: string;
  readonly port: number;
  /** What it connected to. */
  readonly to: { readonly address: string; readonly port: number };
}

const more: ProxyHeader = { kind: "more" };
const bad = (why: string): ProxyHeader => ({ kind: "bad", why });

/** v1: the longest line, CRLF included (specification section 2.1). */
const maxV1 = 107;
/** v2: address and TLV bytes after the 16 fixed ones. The specification allows 64 KiB; real senders stay below 600. */
const maxV2 = 4_096;

const signature = Buffer.from([
  0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a,
]);

/**
 * Parses the header at the start of `bytes`; needs at most 4112 of them. `more`: what is there is a valid beginning.
 * Source: haproxy.org/download/3.0/doc/proxy-protocol.txt.
 */
export function parseProxyHeader(bytes: Buffer): ProxyHeader {
  if (bytes.length === 0) return more;
  if (bytes[0] === 0x50) return parseV1(bytes);
  const known = Math.min(bytes.length, signature.length);
  if (bytes.compare(signature, 0, known, 0, known) !== 0)
    return bad("it does not start with a PROXY header");
  return bytes.length < 16 ? more : parseV2(bytes);
}

function parseV1(bytes: Buffer): ProxyHeader {
  const text = bytes.toString("latin1", 0, maxV1);
  const start = "PROXY ";
  if (!text.startsWith(start.slice(0, text.length)))
    return bad("it does not start with a PROXY header");
  const end = text.indexOf("\r\n");
  if (end === -1) {
    if (text.length >= maxV1) return bad("the v1 line is longer than 107 bytes");
    return text.includes("\n") ? bad("the v1 line does not end in CRLF") : more;
  }
  const line = text.slice(start.length, end);
  const length = end + 2;
  if (line === "UNKNOWN" || line.startsWith("UNKNOWN "))
    return { kind: "header", length, source: null };
  const parts = line.split(" ");
  const [protocol, address, target, port, targetPort] = parts;
  const family = protocol === "TCP4" ? 4 : protocol === "TCP6" ? 6 : 0;
  if (parts.length !== 5 || family === 0)
    return bad("the v1 line is not TCP4 or TCP6 with two addresses and two ports");
  if (net.isIP(address!) !== family || net.isIP(target!) !== family)
    return bad(`the v1 addresses are not ${protocol} addresses`);
  if (!isPort(port!) || !isPort(targetPort!))
    return bad("a v1 port is not a number from 0 to 65535");
  const to = { address: target!, port: Number(targetPort) };
  return { kind: "header", length, source: { address: address!, port: Number(port), to } };
}

/** Decimal, no sign, no leading zero (specification section 2.1). */
function isPort(text: string): boolean {
  return /^(?:0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65_535;
}

function parseV2(bytes: Buffer): ProxyHeader {
  const versionCommand = bytes[12]!;
  if (versionCommand >> 4 !== 2) return bad(`the v2 version is ${versionCommand >> 4}`);
  const command = versionCommand & 0x0f;
  if (command > 1) return bad(`the v2 command is ${command}`);
  const size = bytes.readUInt16BE(14);
  if (size > maxV2) return bad(`the v2 header has ${size} bytes, more than ${maxV2}`);
  const length = 16 + size;
  if (bytes.length < length) return more;
  const family = bytes[13]! >> 4;
  const transport = bytes[13]! & 0x0f;
  if (family > 3 || transport > 2) return bad("the v2 family or transport is unknown");
  if (command === 0) return { kind: "header", length, source: null };
  const needed = family === 1 ? 12 : family === 2 ? 36 : family === 3 ? 216 : 0;
  if (size < needed) return bad(`the v2 header has ${size} bytes, fewer than its addresses need`);
  const problem = checkTlvs(bytes.subarray(0, length), 16 + needed);
  if (problem !== null) return bad(problem);
  // a Unix socket or an unspecified family names nobody we could log
  if (family === 1)
    return {
      kind: "header",
      length,
      source: {
        address: ipv4(bytes, 16),
        port: bytes.readUInt16BE(24),
        to: { address: ipv4(bytes, 20), port: bytes.readUInt16BE(26) },
      },
    };
  if (family === 2)
    return {
      kind: "header",
      length,
      source: {
        address: ipv6(bytes, 16),
        port: bytes.readUInt16BE(48),
        to: { address: ipv6(bytes, 32), port: bytes.readUInt16BE(50) },
      },
    };
  return { kind: "header", length, source: null };
}

/** The type of the TLV with the header's checksum (specification section 2.2.3). */
const crcType = 0x03;

/** `from`: where the TLVs of this header begin. */
function checkTlvs(header: Buffer, from: number): string | null {
  let at = from;
  while (at < header.length) {
    if (at + 3 > header.length) return "a v2 TLV is cut off";
    const value = at + 3;
    const next = value + header.readUInt16BE(at + 1);
    if (next > header.length) return "a v2 TLV is longer than the header";
    if (header[at] === crcType) {
      if (next - value !== 4) return "the v2 checksum is not four bytes long";
      if (header.readUInt32BE(value) !== crc32c(header, value, next))
        return "the v2 checksum does not fit the header";
    }
    at = next;
  }
  return null;
}

function ipv4(bytes: Buffer, at: number): string {
  return `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`;
}

function ipv6(bytes: Buffer, at: number): string {
  const groups: string[] = [];
  for (let i = 0; i < 16; i += 2) groups.push(bytes.readUInt16BE(at + i).toString(16));
  const text = groups.join(":");
  // the socket address parser writes the canonical form (RFC 5952)
  return net.SocketAddress.parse(`[${text}]`)?.address ?? text;
}
