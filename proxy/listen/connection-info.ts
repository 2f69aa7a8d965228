/** What is known about a connection before anything is served on it. */

import type { TLSSocket } from "node:tls";
import type { ConnectionInfo } from "../exchange.ts";
import type { Client, Peer, TlsInfo } from "../pipeline/plugin.ts";
import type { ProxySource } from "./proxy-protocol.ts";
import { dnsNames, oneLine, subjectNames } from "./certificate.ts";
import type { Admission } from "./tls.ts";

export class SecureInfo implements ConnectionInfo {
  readonly client: Client;
  readonly peer: Peer | null;
  readonly listener: string;
  readonly secure = true;
  private readonly decide: (host: string) => boolean;
  /** Most connections ask for one host only. */
  private lastHost = "";
  private lastAnswer = false;

  constructor(
    listener: string,
    client: Client,
    socket: TLSSocket,
    admission: Admission & { admitted: true },
  ) {
    this.listener = listener;
    this.client = { ...client, tls: tlsInfo(socket, admission) };
    this.peer = admission.peer;
    this.decide = (host) => admission.misdirected(host);
  }

  misdirected(host: string): boolean {
    if (host !== this.lastHost) {
      this.lastHost = host;
      this.lastAnswer = this.decide(host);
    }
    return this.lastAnswer;
  }
}

function tlsInfo(socket: TLSSocket, admission: Admission & { admitted: true }): TlsInfo {
  const { certificate } = admission;
  return {
    version: socket.getProtocol() ?? "",
    cipher: socket.getCipher().name,
    serverName:
      typeof socket.servername === "string" && socket.servername !== "" ? socket.servername : null,
    alpn: typeof socket.alpnProtocol === "string" ? socket.alpnProtocol : null,
    clientCertificate:
      certificate === null
        ? null
        : {
            subject: oneLine(certificate.subject),
            uris: subjectNames(certificate, "URI"),
            dnsNames: dnsNames(certificate),
            fingerprint256: certificate.fingerprint256,
          },
  };
}

/** A connection without TLS. */
export function plainInfo(listener: string, client: Client): ConnectionInfo {
  return { client, peer: null, listener, secure: false, misdirected: never };
}

const never = (): boolean => false;

/** The caller as a PROXY header names it. */
export function calledBy(client: Client, source: ProxySource | null): Client {
  return source === null ? client : { ...client, address: source.address, port: source.port };
}

/** IPv4 callers on an IPv6 socket are shown as IPv4; null: the caller is gone. */
export function plainAddress(address: string | undefined): string | null {
  if (address === undefined) return null;
  return address.startsWith("::ffff:") ? address.slice(7) : address;
}
