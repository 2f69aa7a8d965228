/** The PROXY protocol towards services: says who the caller is before the first byte (haproxy.org/download/3.0/doc/proxy-protocol.txt). */

import net from "node:net";
import type { Client } from "../pipeline/plugin.ts";

/** `v1`: one line of text; `v2`: binary, with what is known of the caller's TLS. */
export type ProxyHeaderVersion = "v1" | "v2";

/** A caller, and what it asked for. */
export interface ProxyHeaderSource {
  readonly client: Client;
  /** Where the caller connected to; null: not known any more. */
  readonly local: { readonly address: string; readonly port: number } | null;
  /** Server name of the caller's ClientHello, terminated here or not; null: none. */
  readonly serverName: string | null;
}

const signature = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");

/** TLV types (section 2.2). */
const Tlv = { alpn: 0x01, authority: 0x02, uniqueId: 0x05, ssl: 0x20 } as const;
/** Below `ssl` (section 2.2.6). */
const SslTlv = { version: 0x21, commonName: 0x22, cipher: 0x23 } as const;
const sslClient = { ssl: 0x01, certificate: 0x02 } as const;

/** The header of a connection that nobody but weft has made: a health check (v2 LOCAL, v1 UNKNOWN). */
export function ownProxyHeader(version: ProxyHeaderVersion): Buffer {
  if (version === "v1") return Buffer.from("PROXY UNKNOWN\r\n");
  return Buffer.concat([signature, Buffer.from([0x20, 0x00, 0x00, 0x00])]);
}

/**
 * The header for a caller's connection. Addresses of different families, or a destination that is not known, are told
 * as v1 `UNKNOWN`, and in v2 as IPv6 with the IPv4 ones mapped.
 * @param id v2: told as the unique id of the connection, so that both logs can be joined
 */
export function proxyHeader(
  version: ProxyHeaderVersion,
  source: ProxyHeaderSource,
  id: string,
): Buffer {
  return version === "v1" ? textHeader(source) : binaryHeader(source, id);
}

function textHeader({ client, local }: ProxyHeaderSource): Buffer {
  const family = net.isIP(client.address);
  if (local === null || family === 0 || net.isIP(local.address) !== family)
    return ownProxyHeader("v1");
  return Buffer.from(
    `PROXY TCP${family} ${client.address} ${local.address} ${client.port} ${local.port}\r\n`,
    "latin1",
  );
}

function binaryHeader(source: ProxyHeaderSource, id: string): Buffer {
  const { client, local } = source;
  const from = net.isIP(client.address);
  const to = local === null ? from : net.isIP(local.address);
  const isIpv4 = from === 4 && to === 4;
  const isKnown = from !== 0 && local !== null && to !== 0;
  const addresses = isKnown
    ? Buffer.concat([
        addressBytes(client.address, isIpv4),
        addressBytes(local.address, isIpv4),
        uint16(client.port),
        uint16(local.port),
      ])
    : Buffer.alloc(0);
  const body = Buffer.concat([addresses, tlvs(source, id)]);
  // command PROXY; family and TCP
  const kind = isKnown ? (isIpv4 ? 0x11 : 0x21) : 0x00;
  return Buffer.concat([signature, Buffer.from([0x21, kind]), uint16(body.length), body]);
}

function tlvs({ client, serverName }: ProxyHeaderSource, id: string): Buffer {
  const { tls } = client;
  const parts: Buffer[] = [];
  if (tls?.alpn != null) parts.push(tlv(Tlv.alpn, tls.alpn));
  if (serverName !== null) parts.push(tlv(Tlv.authority, serverName));
  parts.push(tlv(Tlv.uniqueId, id));
  if (tls !== null) {
    const { clientCertificate } = tls;
    const flags = sslClient.ssl | (clientCertificate === null ? 0 : sslClient.certificate);
    // a certificate that did not verify never gets this far; without one the field must not be zero
    const verify = clientCertificate === null ? 1 : 0;
    const inner = [Buffer.from([flags, 0, 0, 0, verify]), tlv(SslTlv.version, tls.version)];
    const name = clientCertificate === null ? null : commonName(clientCertificate.subject);
    if (name !== null) inner.push(tlv(SslTlv.commonName, name));
    inner.push(tlv(SslTlv.cipher, tls.cipher));
    parts.push(tlv(Tlv.ssl, Buffer.concat(inner)));
  }
  return Buffer.concat(parts);
}

/** From a subject in one line, such as `O=acme, CN=client`; a comma inside a value is escaped (RFC 4514 section 2.4). */
function commonName(subject: string): string | null {
  const found = /(?:^|(?<!\\), )CN=((?:[^,\\]|\\.)+)/.exec(subject)?.[1];
  return found === undefined ? null : found.replaceAll(/\\(.)/g, "$1");
}

function tlv(type: number, value: string | Buffer): Buffer {
  const bytes = typeof value === "string" ? Buffer.from(value) : value;
  return Buffer.concat([Buffer.from([type]), uint16(bytes.length), bytes]);
}

function uint16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

/** Network order; an IPv4 address beside an IPv6 one is mapped (RFC 4291 section 2.5.5.2). */
function addressBytes(address: string, isIpv4: boolean): Buffer {
  if (net.isIPv4(address)) {
    const four = Buffer.from(address.split(".").map(Number));
    if (isIpv4) return four;
    return Buffer.concat([Buffer.alloc(10), Buffer.from([0xff, 0xff]), four]);
  }
  return ipv6Bytes(address);
}

function ipv6Bytes(address: string): Buffer {
  const text = address.split("%")[0]!;
  // an IPv4 tail becomes two groups
  const plain = text.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_all, a, b, c, d) => {
    const group = (high: unknown, low: unknown): string =>
      ((Number(high) << 8) | Number(low)).toString(16);
    return `${group(a, b)}:${group(c, d)}`;
  });
  const [left, right] = plain.split("::") as [string, string | undefined];
  const groups = (part: string): string[] => (part === "" ? [] : part.split(":"));
  const head = groups(left);
  const tail = right === undefined ? [] : groups(right);
  const zeros = Array.from({ length: Math.max(0, 8 - head.length - tail.length) }, () => "0");
  const bytes = Buffer.alloc(16);
  for (const [i, group] of [...head, ...zeros, ...tail].slice(0, 8).entries())
    bytes.writeUInt16BE(Number.parseInt(group, 16) & 0xffff, i * 2);
  return bytes;
}
