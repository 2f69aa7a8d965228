/** Keys that verify message signatures, and the algorithms each can be used with (RFC 9421 section 3.3). */

import { constants, createHmac, timingSafeEqual, verify } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { calculateJwkThumbprint } from "jose";
import { readSigningKey } from "./stored-key.ts";
import type { Consumer, Consumers } from "../proxy/pipeline/plugin.ts";

/** One key of a consumer. */
export interface SignatureKey {
  readonly consumer: Consumer;
  readonly key: KeyObject;
  /** Names of the registry; the key's type decides, never the message. */
  readonly algorithms: readonly string[];
}

/** By key id: a consumer's name stands for all of its keys, a JWK thumbprint (RFC 7638) for one. */
export async function readSignatureKeys(
  consumers: Consumers,
): Promise<ReadonlyMap<string, readonly SignatureKey[]>> {
  const found = new Map<string, SignatureKey[]>();
  for (const { name, keys } of consumers.entries) {
    const consumer = consumers.byName(name)!;
    for (const text of keys) {
      const key = readSigningKey(text);
      const algorithms = key === null ? [] : algorithmsOf(key);
      if (key === null || algorithms.length === 0) continue;
      const one = { consumer, key, algorithms };
      add(found, name, one);
      if (key.type === "public")
        add(found, await calculateJwkThumbprint(key.export({ format: "jwk" }) as object), one);
    }
  }
  return found;
}

function add(keys: Map<string, SignatureKey[]>, id: string, key: SignatureKey): void {
  const list = keys.get(id);
  if (list === undefined) keys.set(id, [key]);
  else list.push(key);
}

function algorithmsOf(key: KeyObject): string[] {
  switch (key.asymmetricKeyType) {
    case undefined:
      return ["hmac-sha256"];
    case "ed25519":
      return ["ed25519"];
    case "rsa":
      return ["rsa-pss-sha512", "rsa-v1_5-sha256"];
    case "rsa-pss":
      return ["rsa-pss-sha512"];
    case "ec":
      switch (key.asymmetricKeyDetails?.namedCurve) {
        case "prime256v1":
          return ["ecdsa-p256-sha256"];
        case "secp384r1":
          return ["ecdsa-p384-sha384"];
        default:
          return [];
      }
    default:
      return [];
  }
}

/** True when the key made this signature of the text. @param algorithm null: any that the key can be used with */
export function isSignedBy(
  { key, algorithms }: SignatureKey,
  algorithm: string | null,
  text: string,
  signature: Buffer,
): boolean {
  // fields are latin1 on the wire
  const data = Buffer.from(text, "latin1");
  return algorithms.some((one) => {
    if (algorithm !== null && one !== algorithm) return false;
    switch (one) {
      case "hmac-sha256": {
        const made = createHmac("sha256", key).update(data).digest();
        return made.length === signature.length && timingSafeEqual(made, signature);
      }
      case "ed25519":
        return verify(null, data, key, signature);
      case "rsa-pss-sha512": {
        const padding = constants.RSA_PKCS1_PSS_PADDING;
        return verify("sha512", data, { key, padding, saltLength: 64 }, signature);
      }
      case "rsa-v1_5-sha256":
        return verify("sha256", data, key, signature);
      case "ecdsa-p256-sha256":
        return verify("sha256", data, { key, dsaEncoding: "ieee-p1363" }, signature);
      case "ecdsa-p384-sha384":
        return verify("sha384", data, { key, dsaEncoding: "ieee-p1363" }, signature);
      default:
        return false;
    }
  });
}
