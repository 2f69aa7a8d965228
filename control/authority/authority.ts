/** A certificate authority in a folder: enough for a laptop, a test or a small fleet. */

import "reflect-metadata";
import {
  createPrivateKey,
  createPublicKey,
  randomBytes,
  webcrypto,
  type KeyObject,
} from "node:crypto";
import { constants } from "node:fs";
import { access, mkdir, readFile, rename, writeFile } from "node:fs/promises";
import path from "node:path";
import * as x509 from "@peculiar/x509";

x509.cryptoProvider.set(webcrypto as unknown as Crypto);

/** What the user asked for cannot be done; the message names the file or value. */
export class AuthorityError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "AuthorityError";
  }
}

const dayMs = 86_400_000;
const authorityTtlMs = 3_650 * dayMs;
/** Certificates begin a little in the past, for peers whose clocks are behind. */
const skewMs = 60_000;
const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

export interface AuthorityFiles {
  readonly cert: string;
  readonly key: string;
}

export interface CertificateFiles extends AuthorityFiles {
  readonly bundle: string;
  /** SPIFFE URI. */
  readonly id: string;
  readonly expiresAt: Date;
}

export interface CreateOptions {
  /** Milliseconds since 1970. Default: now. */
  readonly nowMs?: number;
}

/**
 * Makes `ca.crt` and `ca.key` (0600) in `out`: ECDSA P-256, ten years, bound to the trust domain by its SPIFFE name.
 * Rejects with {@link AuthorityError} when there is one already: replacing it would orphan all that it signed.
 */
export async function createAuthority(
  out: string,
  trustDomain: string,
  options: CreateOptions = {},
): Promise<AuthorityFiles> {
  if (!/^[a-z0-9]([a-z0-9._-]{0,253}[a-z0-9])?$/.test(trustDomain)) {
    throw new AuthorityError(
      `trust domain ${JSON.stringify(trustDomain)}: expected a lower-case name such as weft.local`,
    );
  }
  const files = { cert: path.join(out, "ca.crt"), key: path.join(out, "ca.key") };
  for (const file of [files.cert, files.key]) {
    if (await exists(file))
      throw new AuthorityError(`${file} exists already: remove it first, or choose another folder`);
  }
  const nowMs = options.nowMs ?? Date.now();
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: [{ CN: [`weft authority of ${trustDomain}`] }],
    notBefore: new Date(nowMs - skewMs),
    notAfter: new Date(nowMs + authorityTtlMs),
    signingAlgorithm: algorithm,
    keys: keys as never,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(
        x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign,
        true,
      ),
      // SPIFFE X.509-SVID section 3: a signing certificate names its trust domain, without a path
      new x509.SubjectAlternativeNameExtension([{ type: "url", value: `spiffe://${trustDomain}` }]),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey as unknown as CryptoKey),
    ],
  });
  await folder(out);
  await write(files.key, await pemOfKey(keys.privateKey), 0o600);
  await write(files.cert, `${certificate.toString("pem")}\n`, 0o644);
  return files;
}

export interface IssueOptions extends CreateOptions {
  /** Name of the workload: the last part of its SPIFFE name, and of its files. */
  readonly service: string;
  /** Folder with `ca.crt` and `ca.key`. */
  readonly ca: string;
  /** Folder for `NAME.crt`, `NAME.key` (0600) and `bundle.crt`; existing ones are replaced, each in one step. */
  readonly out: string;
  /** Default 24 h. */
  readonly ttlMs?: number;
  /** DNS names, for a certificate that an edge listener shows too. */
  readonly dnsNames?: readonly string[];
}

/** Signs a new key for a service. Rejects with {@link AuthorityError}. */
export async function issueCertificate(options: IssueOptions): Promise<CertificateFiles> {
  const { service, out, ttlMs = dayMs, dnsNames = [] } = options;
  // the name becomes a file name and a path of a URI
  if (!/^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/.test(service)) {
    throw new AuthorityError(
      `service ${JSON.stringify(service)}: expected letters, digits, ".", "_" and "-", at most 63`,
    );
  }
  const authority = await readAuthority(options.ca);
  const nowMs = options.nowMs ?? Date.now();
  const expiresAt = new Date(nowMs + ttlMs);
  if (ttlMs <= 0) throw new AuthorityError("the time to live must be more than zero");
  if (expiresAt > authority.certificate.notAfter) {
    throw new AuthorityError(
      `the certificate would outlive its authority, which ends on ${authority.certificate.notAfter.toISOString()}`,
    );
  }
  const id = `spiffe://${authority.trustDomain}/service/${service}`;
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: [{ CN: [service] }],
    issuer: authority.certificate.subjectName,
    notBefore: new Date(nowMs - skewMs),
    notAfter: expiresAt,
    signingAlgorithm: authority.signing,
    publicKey: keys.publicKey as unknown as CryptoKey,
    signingKey: authority.key,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([
        x509.ExtendedKeyUsage.serverAuth,
        x509.ExtendedKeyUsage.clientAuth,
      ]),
      new x509.SubjectAlternativeNameExtension([
        { type: "url", value: id },
        ...dnsNames.map((value) => ({ type: "dns" as const, value })),
      ]),
      await x509.AuthorityKeyIdentifierExtension.create(authority.certificate.publicKey),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey as unknown as CryptoKey),
    ],
  });
  const files = {
    cert: path.join(out, `${service}.crt`),
    key: path.join(out, `${service}.key`),
    bundle: path.join(out, "bundle.crt"),
  };
  await folder(out);
  await write(files.bundle, authority.pem, 0o644);
  await write(files.key, await pemOfKey(keys.privateKey), 0o600);
  await write(files.cert, `${certificate.toString("pem")}\n`, 0o644);
  return { ...files, id, expiresAt };
}

interface Authority {
  readonly certificate: x509.X509Certificate;
  readonly pem: string;
  readonly key: CryptoKey;
  readonly signing: webcrypto.Algorithm | webcrypto.EcdsaParams;
  readonly trustDomain: string;
}

async function readAuthority(dir: string): Promise<Authority> {
  const certFile = path.join(dir, "ca.crt");
  const keyFile = path.join(dir, "ca.key");
  const pem = await read(certFile);
  const keyPem = await read(keyFile);
  const certificate = attempt(
    certFile,
    "not a PEM certificate",
    () => new x509.X509Certificate(pem),
  );
  const secret = attempt(keyFile, "not a PEM private key", () => createPrivateKey(keyPem));
  const own = createPublicKey(secret).export({ type: "spki", format: "der" });
  if (!own.equals(Buffer.from(certificate.publicKey.rawData))) {
    throw new AuthorityError(`${keyFile}: the key does not belong to ${certFile}`);
  }
  const names = certificate.getExtension(x509.SubjectAlternativeNameExtension)?.names.items ?? [];
  const uri = names.find(
    ({ type, value }) => type === "url" && value.startsWith("spiffe://"),
  )?.value;
  if (uri === undefined) {
    throw new AuthorityError(
      `${certFile}: no SPIFFE name of a trust domain in it: make one with "weft cert ca"`,
    );
  }
  const { importAs, signing } = signingOf(secret, keyFile);
  const key = secret.toCryptoKey(importAs as never, false, ["sign"]) as unknown as CryptoKey;
  return {
    certificate,
    pem,
    key,
    signing,
    trustDomain: uri.slice("spiffe://".length).replace(/\/.*$/, ""),
  };
}

function signingOf(
  key: KeyObject,
  file: string,
): { importAs: object; signing: webcrypto.Algorithm | webcrypto.EcdsaParams } {
  switch (key.asymmetricKeyType) {
    case "ec": {
      const curve = key.asymmetricKeyDetails?.namedCurve;
      const namedCurve =
        curve === "prime256v1" ? "P-256" : curve === "secp384r1" ? "P-384" : "P-521";
      const hash =
        namedCurve === "P-256" ? "SHA-256" : namedCurve === "P-384" ? "SHA-384" : "SHA-512";
      return { importAs: { name: "ECDSA", namedCurve }, signing: { name: "ECDSA", hash } };
    }
    case "rsa": {
      const name = "RSASSA-PKCS1-v1_5";
      return { importAs: { name, hash: "SHA-256" }, signing: { name } };
    }
    case "ed25519":
      return { importAs: { name: "Ed25519" }, signing: { name: "Ed25519" } };
    default:
      throw new AuthorityError(
        `${file}: a ${key.asymmetricKeyType} key cannot sign certificates here`,
      );
  }
}

/** 127 random bits, positive (RFC 5280 section 4.1.2.2). */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = (bytes[0]! & 0x7f) | 0x40;
  return bytes.toString("hex");
}

async function pemOfKey(key: webcrypto.CryptoKey): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", key));
  const lines = der.toString("base64").match(/.{1,64}/g)!;
  return `-----BEGIN PRIVATE KEY-----\n${lines.join("\n")}\n-----END PRIVATE KEY-----\n`;
}

async function folder(dir: string): Promise<void> {
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new AuthorityError(`cannot make ${dir}: ${(error as NodeJS.ErrnoException).code}`, error);
  }
}

/** In one step: whoever watches the file sees the old one or the new one, never half. */
async function write(file: string, text: string, mode: number): Promise<void> {
  const fresh = `${file}.${process.pid}.new`;
  try {
    await writeFile(fresh, text, { mode, flag: "w" });
    await rename(fresh, file);
  } catch (error) {
    throw new AuthorityError(
      `cannot write ${file}: ${(error as NodeJS.ErrnoException).code}`,
      error,
    );
  }
}

async function read(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new AuthorityError(
      `cannot read ${file}: ${code === "ENOENT" ? "there is no such file" : code}`,
      error,
    );
  }
}

async function exists(file: string): Promise<boolean> {
  try {
    await access(file, constants.F_OK);
    return true;
  } catch {
    return false;
  }
}

function attempt<T>(file: string, message: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw new AuthorityError(`${file}: ${message}`, error);
  }
}
