/** What may stand among the `keys` of a consumer. */

import { createPublicKey, createSecretKey } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { readStoredHash } from "./secret-hash.ts";

/** RFC 7518 section 3.2 for SHA-256: a secret as long as the hash. */
const minSecretBytes = 32;

/** A hash of a key or password, a public key, or a secret for signatures. */
export function isStoredKey(text: string): boolean {
  if (text.startsWith("sha256:")) return /^sha256:[0-9a-f]{64}$/.test(text);
  return readStoredHash(text) !== null || readSigningKey(text) !== null;
}

/** The key that verifies signatures: a public key or certificate in PEM, or `hmac:` and a secret of at least 32 bytes. Null: none. */
export function readSigningKey(text: string): KeyObject | null {
  if (text.startsWith("hmac:")) {
    const secret = Buffer.from(text.slice(5));
    return secret.length < minSecretBytes ? null : createSecretKey(secret);
  }
  if (!/^\s*-----BEGIN (PUBLIC KEY|CERTIFICATE|RSA PUBLIC KEY)-----/.test(text)) return null;
  try {
    return createPublicKey(text);
  } catch {
    return null;
  }
}
