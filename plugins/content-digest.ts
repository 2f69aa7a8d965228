/** The digest of a body that its sender announces (RFC 9530). */

import { hash, timingSafeEqual } from "node:crypto";
import { parseDictionary } from "structured-headers";

/** Digests by the name that Node has for the algorithm. */
export type ContentDigest = ReadonlyMap<string, Buffer>;

const known: Readonly<Record<string, string>> = { "sha-256": "sha256", "sha-512": "sha512" };

/** Null: unreadable, or without a digest that is still safe. */
export function readContentDigest(value: string): ContentDigest | null {
  const digests = new Map<string, Buffer>();
  try {
    for (const [name, [digest]] of parseDictionary(value)) {
      const algorithm = Object.hasOwn(known, name) ? known[name] : undefined;
      if (algorithm !== undefined && digest instanceof ArrayBuffer)
        digests.set(algorithm, Buffer.from(digest));
    }
  } catch {
    return null;
  }
  return digests.size === 0 ? null : digests;
}

/** True when the body has every one of the digests. */
export function hasDigest(body: Uint8Array, digests: ContentDigest): boolean {
  return [...digests].every(([algorithm, digest]) => {
    const made = hash(algorithm, body, "buffer");
    return made.length === digest.length && timingSafeEqual(made, digest);
  });
}
