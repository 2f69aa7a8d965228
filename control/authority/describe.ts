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
    state: stateOf(from.getTime(), until.getTime(), nowMs),
    key: keyOf(certificate),
    sha256: certificate.fingerprint256,
  };
}

/** A few lines for a person. Throws {@link AuthorityError}. */
export function describeCertificate(pem: string, nowMs: number = Date.now()): string {
  return summarise(pem, nowMs)
    .map((one) => [...lines(one, nowMs), `  ${one.key}, sha256 ${one.sha256}`].join("\n"))
    .join("\n");
}

/** What {@link describeInUse} needs of a certificate that a running weft uses. */
export interface CertificateInUse {
  /** `listener secure`, `mesh identity` */
  readonly use: string;
  readonly file: string;
  readonly subject: string;
  readonly names: readonly string[];
  readonly issuer: string;
  /** ISO 8601. */
  readonly notBefore: string;
  readonly notAfter: string;
}

/** The same words for a certificate that a running weft uses, under the place where it does. */
export function describeInUse(one: CertificateInUse, nowMs: number): string {
  const spiffe = one.names.find((name) => name.startsWith("spiffe://"));
  const summary = {
    who: spiffe ?? one.names[0] ?? plain(one.subject),
    names: one.names,
    issuer: plain(one.issuer),
    selfSigned: one.subject === one.issuer,
    isAuthority: false,
    validFrom: one.notBefore,
    validUntil: one.notAfter,
    state: stateOf(Date.parse(one.notBefore), Date.parse(one.notAfter), nowMs),
  };
  return [`${one.use}: ${one.file}`, ...lines(summary, nowMs).map((line) => `  ${line}`)].join(
    "\n",
  );
}

type Worded = Omit<CertificateSummary, "key" | "sha256">;

function lines(one: Worded, nowMs: number): string[] {
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
  ];
}

function stateOf(fromMs: number, untilMs: number, nowMs: number): CertificateSummary["state"] {
  return untilMs < nowMs ? "expired" : fromMs > nowMs ? "not-yet-valid" : "valid";
}

function keyOf(certificate: X509Certificate): string {
  const { asymmetricKeyType, asymmetricKeyDetails } = certificate.publicKey;
  if (asymmetricKeyType === "rsa") return `RSA ${asymmetricKeyDetails?.modulusLength} key`;
  if (asymmetricKeyType === "ec") return `ECDSA ${asymmetricKeyDetails?.namedCurve} key`;
  return `${asymmetricKeyType} key`;
}

/** `CN=x\nO=y` to `x`, or to the whole on one line. */
function plain(name: string): string {
  return /^CN=([^\n,]+)/m.exec(name)?.[1] ?? name.replaceAll("\n", ", ");
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
