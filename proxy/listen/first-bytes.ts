/** The first bytes of a connection: the PROXY header where one is due, then what decides between TLS and plain text. */

import type net from "node:net";
import { readClientHello } from "./client-hello.ts";
import { parseProxyHeader, type ProxySource } from "./proxy-protocol.ts";

export interface FirstBytes {
  /** From the PROXY header; null: the socket's own address holds. */
  readonly source: ProxySource | null;
  /** What follows the header, already read: at least one byte. */
  readonly rest: Buffer;
  /** From a ClientHello; null: not TLS, or no name in it. */
  readonly serverName: string | null;
}

/**
 * Reads from a paused, accepted socket until the PROXY header (when `proxyProtocol`) and a whole ClientHello, or
 * one byte of something else, are there. The socket is paused again for the next reader. `done` runs at most once: with null when the other side left
 * before saying anything, with a text when what it sent is not a PROXY header.
 */
export function readFirstBytes(
  raw: net.Socket,
  proxyProtocol: boolean,
  done: (result: FirstBytes | string | null) => void,
): void {
  let bytes: Buffer = Buffer.alloc(0);
  let source: ProxySource | null = null;
  let headerDue = proxyProtocol;
  const finish = (result: FirstBytes | string | null): void => {
    raw.pause();
    raw.off("data", onData);
    raw.off("end", onEnd);
    raw.off("close", onEnd);
    done(result);
  };
  const onEnd = (): void =>
    finish(bytes.length === 0 ? null : "the connection ended inside the first bytes");
  const onData = (chunk: Buffer): void => {
    bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
    if (headerDue) {
      const parsed = parseProxyHeader(bytes);
      if (parsed.kind === "more") return;
      if (parsed.kind === "bad") return finish(parsed.why);
      headerDue = false;
      source = parsed.source;
      bytes = bytes.subarray(parsed.length);
    }
    if (bytes.length === 0) return;
    const hello = readClientHello(bytes);
    if (hello.kind === "hello") finish({ source, rest: bytes, serverName: hello.serverName });
  };
  raw.on("data", onData);
  raw.on("end", onEnd);
  raw.on("close", onEnd);
  raw.resume();
}

/** TLS handshake record (RFC 8446 section 5.1). */
export function looksLikeTls(first: number): boolean {
  return first === 0x16;
}

/** A request line starts with a letter of its method. */
export function looksLikeHttp(first: number): boolean {
  return first >= 0x41 && first <= 0x5a;
}
