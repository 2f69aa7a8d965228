/** What is known about a connection before anything is served on it. */

import type { TLSSocket } from "node:tls";
import type { Socket } from "node:net";
import type { ConnectionInfo, SocketPlace } from "../exchange.ts";
import type { Client, Peer, TlsInfo } from "../pipeline/plugin.ts";
import type { ProxySource } from "./proxy-protocol.ts";
import { dnsNames, oneLine, subjectNames } from "./certificate.ts";
import type { Admission } from "./tls.ts";

export class SecureInfo implements ConnectionInfo {
  readonly client: Client;
  readonly peer: Peer | null;
  readonly listener: string;
  readonly secure = true;
  readonly local: SocketPlace | null;
  private readonly decide: (host: string) => boolean;
  /** Most connections ask for one host only. */
  private lastHost = "";
  private lastAnswer = false;

  constructor(
    listener: string,
    { client, local }: Pick<ConnectionInfo, "client" | "local">,
    socket: TLSSocket,
    admission: Admission & { admitted: true },
  ) {
    this.listener = listener;
    this.local = local ?? null;
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
export class PlainInfo implements ConnectionInfo {
  readonly client: Client;
  readonly peer = null;
  readonly listener: string;
  readonly secure = false;
  private readonly socket: Socket;
  private readonly source: ProxySource | null;

  /** @param source from the PROXY header; null: there was none, or it names nobody */
  constructor(listener: string, client: Client, socket: Socket, source: ProxySource | null) {
    this.listener = listener;
    this.client =
      source === null ? client : { ...client, address: source.address, port: source.port };
    this.socket = socket;
    this.source = source;
  }

  /** Asked of the system only when somebody wants to know. */
  get local(): SocketPlace | null {
    if (this.source !== null) return this.source.to;
    const address = plainAddress(this.socket.localAddress);
    return address === null ? null : { address, port: this.socket.localPort ?? 0 };
  }

  misdirected(): boolean {
    return false;
  }
}

/** IPv4 callers on an IPv6 socket are shown as IPv4; null: the caller is gone. */
export function plainAddress(address: string | undefined): string | null {
  if (address === undefined) return null;
  return address.startsWith("::ffff:") ? address.slice(7) : address;
}
