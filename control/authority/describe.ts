/** Certificates in words: who, until when, signed by whom. */

import { X509Certificate } from "node:crypto";
import { AuthorityError } from "./authority.ts";

export interface CertificateSummary {
  /** SPIFFE name, else the first DNS name, else the subject. */
  readonly who: string;
  readonly names: readonly string[];
  readonly issuer: string;
  readonly selfSigned: boolean;
  readonly isAuthority: boolean;
  readonly validFrom: string;
  readonly validUntil: string;
  readonly state: "valid" | "expired" | "not-yet-valid";
  readonly key: string;
  readonly sha256: string;
}

/** Every certificate of a PEM text, in order. Throws {@link AuthorityError} when there is none or one cannot be read. */
export function summarise(pem: string, nowMs: number): CertificateSummary[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g);
  if (blocks === null) throw new AuthorityError("there is no PEM certificate in it");
  return blocks.map((block, index) => {
    try {
      return summaryOf(new X509Certificate(block), nowMs);
    } catch (error) {
      throw new AuthorityError(`certificate ${index + 1} cannot be read`, error);
    }
  });
}

function summaryOf(certificate: X509Certificate, nowMs: number): CertificateSummary {
  const names = (certificate.subjectAltName ?? "")
    .split(", ")
    .filter((name) => name !== "")
    .map((name) => name.replace(/^(?:DNS|URI|IP Address|email):/, ""));
  const spiffe = names.find((name) => name.startsWith("spiffe://"));
  const from = certificate.validFromDate;
  const until = certificate.validToDate;
  return {
    who: spiffe ?? names[0] ?? plain(certificate.subject),
    names,
    issuer: plain(certificate.issuer),
    selfSigned: certificate.subject === certificate.issuer,
    isAuthority: certificate.ca,
    validFrom: from.toISOString(),
    validUntil: until.toISOString(),
    state: until.getTime() < nowMs ? "expired" : from.getTime() > nowMs ? "not-yet-valid" : "valid",
    key: keyOf(certificate),
    sha256: certificate.fingerprint256,
  };
}

/** A few lines for a person. Throws {@link AuthorityError}. */
export function describeCertificate(pem: string, nowMs: number = Date.now()): string {
  return summarise(pem, nowMs)
    .map((one) => {
      const others = one.names.filter((name) => name !== one.who);
      const until = day(one.validUntil);
      const validity = {
        valid: `valid until ${until} (${distance(Date.parse(one.validUntil) - nowMs)} left)`,
        expired: `EXPIRED on ${until} (${distance(nowMs - Date.parse(one.validUntil))} ago)`,
        "not-yet-valid": `NOT YET VALID: from ${day(one.validFrom)} until ${until}`,
      }[one.state];
      return [
        `${one.who}${one.isAuthority ? ", an authority" : ""}`,
        ...(others.length > 0 ? [`  also ${others.join(", ")}`] : []),
        `  ${validity}`,
        `  signed by ${one.selfSigned ? "itself" : one.issuer}`,
        `  ${one.key}, sha256 ${one.sha256}`,
      ].join("\n");
    })
    .join("\n");
}

function keyOf(certificate: X509Certificate): string {
  const { asymmetricKeyType, asymmetricKeyDetails } = certificate.publicKey;
  if (asymmetricKeyType === "rsa") return `RSA ${asymmetricKeyDetails?.modulusLength} key`;
  if (asymmetricKeyType === "ec") return `ECDSA ${asymmetricKeyDetails?.namedCurve} key`;
  return `${asymmetricKeyType} key`;
}

/** `CN=x\nO=y` to `x`, or to the whole on one line. */
function plain(name: string): string {
  return /^CN=([^\n]+)$/m.exec(name)?.[1] ?? name.replaceAll("\n", ", ");
}

function day(iso: string): string {
  return `${iso.slice(0, 16).replace("T", " ")} UTC`;
}

function distance(ms: number): string {
  const units = [
    ["day", 86_400_000],
    ["hour", 3_600_000],
    ["minute", 60_000],
  ] as const;
  for (const [name, size] of units) {
    const count = Math.floor(ms / size);
    if (count >= 1) return `${count} ${name}${count === 1 ? "" : "s"}`;
  }
  return "less than a minute";
}
