/** Certificates as tests need them: any names, any dates, signed by any authority, odd ones included. */

import "reflect-metadata";
import { randomBytes, webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";

x509.cryptoProvider.set(webcrypto as unknown as Crypto);

const ecdsa = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
export const rsa = {
  name: "RSASSA-PKCS1-v1_5",
  hash: "SHA-256",
  modulusLength: 2048,
  publicExponent: new Uint8Array([1, 0, 1]),
};
const hourMs = 3_600_000;

/** A certificate with its key, as PEM. */
export interface Pair {
  readonly cert: string;
  readonly key: string;
}

export interface TestAuthority extends Pair {
  readonly signer: x509.X509Certificate;
  readonly secret: webcrypto.CryptoKey;
}

export interface CertificateWish {
  readonly dns?: readonly string[];
  readonly uris?: readonly string[];
  readonly commonName?: string;
  /** Milliseconds since 1970. Default: an hour ago until in an hour. */
  readonly fromMs?: number;
  readonly untilMs?: number;
  readonly rsa?: boolean;
}

/**
 * @param trustDomain its SPIFFE name; null: an authority without one
 * @param algorithm of its key; default ECDSA P-256
 */
export async function testAuthority(
  trustDomain: string | null = "weft.local",
  algorithm: { readonly name: string } = ecdsa,
): Promise<TestAuthority> {
  const keys = await generate(algorithm);
  const signer = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(),
    name: [{ CN: [`test authority ${randomBytes(4).toString("hex")}`] }],
    notBefore: new Date(Date.now() - 48 * hourMs),
    notAfter: new Date(Date.now() + 48 * hourMs),
    signingAlgorithm: algorithm,
    keys: keys as never,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
      ...(trustDomain === null
        ? []
        : [
            new x509.SubjectAlternativeNameExtension([
              { type: "url", value: `spiffe://${trustDomain}` },
            ]),
          ]),
    ],
  });
  return {
    signer,
    secret: keys.privateKey,
    cert: signer.toString("pem"),
    key: await pem(keys.privateKey),
  };
}

/** A leaf for TLS servers and clients. */
export async function signed(authority: TestAuthority, wish: CertificateWish = {}): Promise<Pair> {
  const keys = await generate(wish.rsa === true ? rsa : ecdsa);
  const names = [
    ...(wish.dns ?? []).map((value) => ({ type: "dns" as const, value })),
    ...(wish.uris ?? []).map((value) => ({ type: "url" as const, value })),
  ];
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serial(),
    subject: [{ CN: [wish.commonName ?? "test"] }],
    issuer: authority.signer.subjectName,
    notBefore: new Date(wish.fromMs ?? Date.now() - hourMs),
    notAfter: new Date(wish.untilMs ?? Date.now() + hourMs),
    signingAlgorithm: ecdsa,
    publicKey: keys.publicKey as never,
    signingKey: authority.secret as never,
    extensions: names.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension(names)],
  });
  return { cert: certificate.toString("pem"), key: await pem(keys.privateKey) };
}

async function generate(algorithm: object): Promise<webcrypto.CryptoKeyPair> {
  return (await webcrypto.subtle.generateKey(algorithm as typeof ecdsa, true, [
    "sign",
    "verify",
  ])) as webcrypto.CryptoKeyPair;
}

async function pem(key: webcrypto.CryptoKey): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", key)).toString("base64");
  return `-----BEGIN PRIVATE KEY-----\n${der}\n-----END PRIVATE KEY-----\n`;
}

function serial(): string {
  return `40${randomBytes(15).toString("hex")}`;
}
