/** The certificates that the configuration names, as they stand in their files now. */

import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { Config } from "../config.ts";

/** A certificate as `/certs` shows it. Times are ISO 8601. */
export interface CertificateView {
  /** Where it is used: `listener secure`, `mesh identity`. */
  readonly use: string;
  readonly file: string;
  readonly subject: string;
  /** DNS names, addresses and SPIFFE URIs. */
  readonly names: readonly string[];
  readonly issuer: string;
  readonly notBefore: string;
  readonly notAfter: string;
  /** SHA-256 in hex. */
  readonly fingerprint: string;
}

/** The file cannot be read or holds no certificate. */
export interface BrokenCertificate {
  readonly use: string;
  readonly file: string;
  readonly error: string;
}

/** Reads each certificate file; private keys are never opened. */
export function describeCertificates(
  config: Config,
): Promise<(CertificateView | BrokenCertificate)[]> {
  const files = (config.gateway?.listeners ?? []).flatMap((listener) =>
    (listener.tls?.certificates ?? []).map((pair) => ({
      use: `listener ${listener.name}`,
      file: pair.cert,
    })),
  );
  const identity = config.mesh?.identity ?? null;
  if (identity !== null) files.push({ use: "mesh identity", file: identity.cert });
  return Promise.all(files.map(({ use, file }) => describe(use, file)));
}

async function describe(use: string, file: string): Promise<CertificateView | BrokenCertificate> {
  try {
    const certificate = new X509Certificate(await readFile(file));
    const names = (certificate.subjectAltName ?? "").split(", ").filter((name) => name !== "");
    return {
      use,
      file,
      subject: oneLine(certificate.subject),
      names: names.map((name) => name.replace(/^(DNS|URI|IP Address):/, "")),
      issuer: oneLine(certificate.issuer),
      notBefore: certificate.validFromDate.toISOString(),
      notAfter: certificate.validToDate.toISOString(),
      fingerprint: certificate.fingerprint256.replaceAll(":", "").toLowerCase(),
    };
  } catch (error) {
    return { use, file, error: error instanceof Error ? error.message : String(error) };
  }
}

function oneLine(name: string | undefined): string {
  return (name ?? "").split("\n").join(", ");
}
