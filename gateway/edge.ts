/** What the edge believes of what callers say about themselves: nothing, but what its trusted hops vouch for. */

import net from "node:net";
import type { ConnectionInfo, HeaderTrust } from "../proxy/exchange.ts";
import { Kind, type Fields } from "../proxy/http/fields.ts";
import type { RequestHead } from "../proxy/http/head.ts";

const dropAlways = [
  Kind.weft,
  Kind.control,
  Kind.deadline,
  Kind.grpcTimeout,
  Kind.underscore,
  Kind.xForwardedFor,
] as const;
const dropWithoutHops = [Kind.forwarded, Kind.xForwardedProto, Kind.xForwardedHost] as const;

/**
 * The edge's {@link HeaderTrust} (CONTRACT section 5).
 * With no trusted hop, `x-forwarded-for|proto|host` and `forwarded` are written from the socket alone. With n hops what
 * came is kept and the socket's address appended; the client is the n-th address counted from the right.
 * @param trustedHops proxies in front that may be believed; 0: none
 */
export function edgeTrust(trustedHops: number): HeaderTrust {
  const drop = new Uint8Array(32);
  for (const kind of dropAlways) drop[kind] = 1;
  if (trustedHops === 0) for (const kind of dropWithoutHops) drop[kind] = 1;
  return {
    drop,
    dropUnderscore: true,
    honourControl: () => false,
    clientAddress: (req, socketAddress) =>
      trustedHops === 0
        ? socketAddress
        : beforeHops(chainOf(req.headers), trustedHops, socketAddress),
    lines: trustedHops === 0 ? freshLines : appendedLines,
  };
}

/** Most connections ask for one host all their life: their lines are made once. */
const cached = new WeakMap<ConnectionInfo, { authority: string; lines: string }>();

function freshLines(req: RequestHead, conn: ConnectionInfo): string {
  const known = cached.get(conn);
  if (known !== undefined && known.authority === req.authority) return known.lines;
  const { address } = conn.client;
  const proto = conn.secure ? "https" : "http";
  const lines =
    `x-forwarded-for: ${address}\r\nx-forwarded-proto: ${proto}\r\nx-forwarded-host: ${req.authority}\r\n` +
    `forwarded: ${element(address, req.authority, proto)}\r\n`;
  if (known === undefined) cached.set(conn, { authority: req.authority, lines });
  else {
    known.authority = req.authority;
    known.lines = lines;
  }
  return lines;
}

function appendedLines(req: RequestHead, conn: ConnectionInfo): string {
  const fields = req.headers;
  const { address } = conn.client;
  const proto = conn.secure ? "https" : "http";
  const chain = chainOf(fields);
  let lines = `x-forwarded-for: ${[...chain, address].join(", ")}\r\n`;
  if (!hasKind(fields, Kind.xForwardedProto)) lines += `x-forwarded-proto: ${proto}\r\n`;
  if (!hasKind(fields, Kind.xForwardedHost)) lines += `x-forwarded-host: ${req.authority}\r\n`;
  // a second line of a list field is the same as one more element (RFC 9110 section 5.3)
  const told = fields.has("forwarded") ? "" : chain.map((hop) => `for=${node(hop)}, `).join("");
  return `${lines}forwarded: ${told}${element(address, req.authority, proto)}\r\n`;
}

/** Addresses that came: X-Forwarded-For, else the `for` of Forwarded; first the client, then each proxy. */
function chainOf(fields: Fields): string[] {
  const value = fields.get("x-forwarded-for");
  if (value !== undefined) {
    return value
      .split(",")
      .map((part) => part.trim())
      .filter((part) => part !== "");
  }
  const forwarded = fields.get("forwarded");
  if (forwarded === undefined) return [];
  const chain: string[] = [];
  for (const part of forwarded.split(",")) {
    const found = /(?:^|;)\s*for=(?:"([^"\\]*)"|([^;,\s]*))/i.exec(part);
    const address = found?.[1] ?? found?.[2];
    if (address !== undefined) chain.push(withoutPort(address));
  }
  return chain;
}

/** The address that the outermost trusted hop saw; something that is no address ends the trust there. */
function beforeHops(chain: readonly string[], trustedHops: number, socketAddress: string): string {
  let client = socketAddress;
  for (let hop = 1; hop <= trustedHops && hop <= chain.length; hop++) {
    const address = withoutPort(chain[chain.length - hop]!);
    if (net.isIP(address) === 0) break;
    client = address;
  }
  return client;
}

/** `[v6]:port`, `[v6]` and `v4:port` (Azure writes it) to the address alone. */
function withoutPort(text: string): string {
  if (text.startsWith("[")) return text.slice(1, text.indexOf("]"));
  const colon = text.indexOf(":");
  return colon !== -1 && colon === text.lastIndexOf(":") ? text.slice(0, colon) : text;
}

/** RFC 7239 section 4. */
function element(address: string, authority: string, proto: string): string {
  return `for=${node(address)};host=${quoted(authority)};proto=${proto}`;
}

/** RFC 7239 section 6: an IPv6 address is bracketed and quoted; what is no address is said as `unknown`. */
function node(address: string): string {
  const bare = withoutPort(address);
  const family = net.isIP(bare);
  if (family === 0) return "unknown";
  return family === 6 ? `"[${bare}]"` : bare;
}

function quoted(text: string): string {
  if (/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(text)) return text;
  return `"${text.replace(/["\\]/g, "\\$&")}"`;
}

function hasKind(fields: Fields, kind: number): boolean {
  for (let i = 0; i < fields.count; i++) if (fields.kinds[i] === kind) return true;
  return false;
}
