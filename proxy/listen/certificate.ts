/** Reading certificates that were shown: their names, and the word for why one is refused. */

import type { X509Certificate } from "node:crypto";

/** Why a client or peer is refused: the word in the log and in `weft_peers_refused_total{reason}` (CONTRACT section 7). */
export const peerRefusals = [
  "no-certificate",
  "unknown-authority",
  "expired",
  "not-yet-valid",
  "several-names",
  "wrong-domain",
  "wrong-name",
  "plain-text",
] as const;
export type PeerRefusal = (typeof peerRefusals)[number];

export function isPeerRefusal(reason: string): reason is PeerRefusal {
  return (peerRefusals as readonly string[]).includes(reason);
}

/**
 * Why a certificate cannot be accepted, as a word, or null. The dates are looked at here too, since a resumed session
 * carries the verdict of the day on which it began.
 */
export function refusalOf(
  certificate: X509Certificate,
  verifyError: string | null,
  wallMs = Date.now(),
): PeerRefusal | null {
  if (
    verifyError !== null &&
    verifyError !== "CERT_HAS_EXPIRED" &&
    verifyError !== "CERT_NOT_YET_VALID"
  ) {
    return "unknown-authority";
  }
  if (verifyError === "CERT_HAS_EXPIRED" || certificate.validToDate.getTime() < wallMs)
    return "expired";
  if (verifyError === "CERT_NOT_YET_VALID" || certificate.validFromDate.getTime() > wallMs)
    return "not-yet-valid";
  return null;
}

/** DNS names of a certificate, lower case: its SANs, or the common name when it has none. */
export function dnsNames(certificate: X509Certificate): string[] {
  const names = subjectNames(certificate, "DNS");
  if (certificate.subjectAltName !== undefined) return names.map((name) => name.toLowerCase());
  const common = /(?:^|\n)CN=([^\n]+)/.exec(certificate.subject)?.[1];
  return common === undefined ? [] : [common.toLowerCase()];
}

/** SANs of one kind. A name that the system had to quote (it has a comma or control character) is nobody's real name: left out. */
export function subjectNames(certificate: X509Certificate, kind: "DNS" | "URI"): string[] {
  const names: string[] = [];
  for (const part of (certificate.subjectAltName ?? "").split(", ")) {
    if (part.startsWith(`${kind}:`) && !part.includes('"')) names.push(part.slice(kind.length + 1));
  }
  return names;
}

/** Subjects come with line ends; a log line has none. */
export function oneLine(text: string): string {
  return text.replaceAll("\n", ", ");
}
