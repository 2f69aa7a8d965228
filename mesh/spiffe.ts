/** SPIFFE names: reading them out of certificates, and saying in one word why one is refused. */

import type { X509Certificate } from "node:crypto";
import { refusalOf, subjectNames, type PeerRefusal } from "../proxy/listen/certificate.ts";
import type { Peer } from "../proxy/pipeline/plugin.ts";

/** What a certificate must prove. */
export interface PeerExpectation {
  /** Trust domains whose names are believed. */
  readonly domains: ReadonlySet<string>;
  /** Null: any name of these domains. */
  readonly id: string | null;
  /** The authorities that the chain was verified with. */
  readonly authorities: readonly X509Certificate[];
  /** Wall clock, milliseconds since 1970. */
  readonly wallMs: number;
}

export type PeerVerdict =
  | { readonly peer: Peer; readonly reason: null }
  | { readonly peer: null; readonly reason: PeerRefusal; readonly detail: string };

/** `spiffe://<trustDomain>/service/<name>` */
export function serviceId(trustDomain: string, service: string): string {
  return `spiffe://${trustDomain}/service/${service}`;
}

/** SPIFFE-ID specification sections 2.1 to 2.3; null when the text is not one with a path. */
export function parseSpiffeId(text: string): Peer | null {
  if (text.length > 2_048) return null;
  const match = /^spiffe:\/\/([a-z0-9._-]{1,255})((?:\/[A-Za-z0-9._-]+)+)$/.exec(text);
  if (match === null) return null;
  const [, trustDomain, path] = match as unknown as [string, string, string];
  if (path.split("/").some((part) => part === "." || part === "..")) return null;
  const service = /^\/service\/([^/]+)$/.exec(path)?.[1] ?? path;
  return { id: text, trustDomain, service };
}

/**
 * Who a verified certificate speaks for.
 * @param verifyError OpenSSL's verdict on the chain; null: fine
 */
export function verifyPeer(
  certificate: X509Certificate | undefined,
  verifyError: string | null,
  expected: PeerExpectation,
): PeerVerdict {
  if (certificate === undefined) return refuse("no-certificate", "it showed no certificate");
  const names = subjectNames(certificate, "URI");
  const shown = names.length === 0 ? "no SPIFFE name" : names.join(" and ");
  const invalid = refusalOf(certificate, verifyError, expected.wallMs);
  if (invalid !== null) return refuse(invalid, `${shown}, ${inWords(invalid, certificate)}`);
  // X509-SVID section 2: exactly one URI SAN
  if (names.length > 1) return refuse("several-names", `it shows ${shown}`);
  const peer = names.length === 1 ? parseSpiffeId(names[0]!) : null;
  if (peer === null) return refuse("wrong-name", `it shows ${shown}, which is not a SPIFFE name`);
  if (!expected.domains.has(peer.trustDomain)) {
    return refuse("wrong-domain", `it is ${peer.id}, of a trust domain that is not believed`);
  }
  // an authority that is bound to a domain speaks for no other
  const bound = issuerDomain(certificate, expected.authorities);
  if (bound !== null && bound !== peer.trustDomain) {
    return refuse("wrong-domain", `it is ${peer.id}, signed by the authority of ${bound}`);
  }
  if (expected.id !== null && peer.id !== expected.id) {
    const other = parseSpiffeId(expected.id);
    const reason =
      other !== null && other.trustDomain !== peer.trustDomain ? "wrong-domain" : "wrong-name";
    return refuse(reason, `it is ${peer.id}, expected ${expected.id}`);
  }
  return { peer, reason: null };
}

function refuse(reason: PeerRefusal, detail: string): PeerVerdict {
  return { peer: null, reason, detail };
}

function inWords(reason: PeerRefusal, certificate: X509Certificate): string {
  if (reason === "expired") return `expired on ${certificate.validToDate.toISOString()}`;
  if (reason === "not-yet-valid") return `valid from ${certificate.validFromDate.toISOString()}`;
  return "signed by an authority that is not in the bundle";
}

function issuerDomain(
  leaf: X509Certificate,
  authorities: readonly X509Certificate[],
): string | null {
  for (const authority of authorities) {
    if (!leaf.checkIssued(authority)) continue;
    const domain = /^spiffe:\/\/([^/]+)\/?$/.exec(subjectNames(authority, "URI")[0] ?? "")?.[1];
    if (domain !== undefined) return domain;
  }
  return null;
}
