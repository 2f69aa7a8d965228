/** What is known about a TLS connection, gathered once after its handshake. */

import type { TLSSocket } from "node:tls";
import type { ConnectionInfo } from "../exchange.ts";
import type { Client, Peer, TlsInfo } from "../pipeline/plugin.ts";
import { dnsNames, oneLine, subjectNames, type Admission } from "./tls.ts";

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
