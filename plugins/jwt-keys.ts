/** Verification keys: PEM, JWK or secret, and which of them may have signed a token. */

import { createPublicKey, createSecretKey } from "node:crypto";
import type { JsonWebKeyInput, KeyObject } from "node:crypto";

/** A key and the algorithms it can be used with: the key's type decides, never the token (RFC 8725 section 3.1). */
export interface VerifyKey {
  readonly key: KeyObject;
  readonly kid: string | null;
  readonly algorithms: ReadonlySet<string>;
}

/** PEM of a public key or a certificate. Throws on anything else. */
export function keyFromPem(pem: string): VerifyKey {
  const key = createPublicKey(pem);
  return { key, kid: null, algorithms: algorithmsOf(key) };
}

/** An HMAC secret; RFC 7518 section 3.2 wants as many bytes as the hash has, at least 32. Throws when it is empty. */
export function keyFromSecret(secret: string): VerifyKey {
  if (secret === "") throw new Error("the secret is empty");
  const key = createSecretKey(secret, "utf8");
  return { key, kid: null, algorithms: algorithmsOf(key) };
}

/** A JSON Web Key (RFC 7517). Null: not for signatures, or of a type that is not known. */
export function keyFromJwk(jwk: unknown): VerifyKey | null {
  if (typeof jwk !== "object" || jwk === null) return null;
  const { kty, kid, alg, use, k } = jwk as Record<string, unknown>;
  if (use !== undefined && use !== "sig") return null;
  try {
    const key =
      kty === "oct" && typeof k === "string"
        ? createSecretKey(Buffer.from(k, "base64url"))
        : createPublicKey({ key: jwk as JsonWebKeyInput["key"], format: "jwk" });
    const possible = algorithmsOf(key);
    const algorithms =
      typeof alg === "string" ? new Set([alg].filter((name) => possible.has(name))) : possible;
    return { key, kid: typeof kid === "string" ? kid : null, algorithms };
  } catch {
    return null;
  }
}

/** Most keys of a set that are looked at. */
const maxKeys = 100;

/** The usable keys of a JWK Set text. Throws when it is none. */
export function keysFromSet(text: string): VerifyKey[] {
  const parsed: unknown = JSON.parse(text);
  const keys =
    typeof parsed === "object" && parsed !== null && "keys" in parsed ? parsed.keys : undefined;
  if (!Array.isArray(keys)) throw new Error('not a JWK set: it has no "keys"');
  return keys.slice(0, maxKeys).flatMap((jwk) => keyFromJwk(jwk) ?? []);
}

/** Keys that may have signed a token with this header: named ones by their name, nameless ones always. */
export function candidates(
  keys: readonly VerifyKey[],
  alg: string,
  kid: string | null,
): VerifyKey[] {
  return keys.filter(
    (key) => key.algorithms.has(alg) && (kid === null || key.kid === null || key.kid === kid),
  );
}

function algorithmsOf(key: KeyObject): Set<string> {
  switch (key.asymmetricKeyType) {
    case "rsa":
      return new Set(["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]);
    case "rsa-pss":
      return new Set(["PS256", "PS384", "PS512"]);
    case "ec":
      return new Set(curves[key.asymmetricKeyDetails?.namedCurve ?? ""] ?? []);
    case "ed25519":
      return new Set(["EdDSA", "Ed25519"]);
    case undefined:
      return new Set(["HS256", "HS384", "HS512"]);
    default:
      return new Set();
  }
}

const curves: Readonly<Record<string, readonly string[]>> = {
  prime256v1: ["ES256"],
  secp384r1: ["ES384"],
  secp521r1: ["ES512"],
};
