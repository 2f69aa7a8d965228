/** Hashes of keys and passwords as they stand in the configuration, and whether a presented secret is the one behind a hash. */

import { argon2, hash, scrypt, timingSafeEqual } from "node:crypto";

/** True when the secret is the one that was hashed. A promise: the hash is slow, and is worked out off the thread. */
export interface StoredHash {
  readonly isSlow: boolean;
  matches(secret: string): boolean | Promise<boolean>;
}

/** Most memory that one slow check may take: a configuration cannot ask for more. */
const maxMemoryBytes = 256 * 1024 * 1024;

/**
 * `sha256:<64 hex>`; slow ones for imported passwords in the PHC string format, the leading `$` may be left out:
 * `$scrypt$ln=15,r=8,p=1$<salt>$<hash>` (also `scrypt$32768$8$1$<salt>$<hash>`) and
 * `$argon2id$v=19$m=65536,t=3,p=4$<salt>$<hash>`; salt and hash in base64. Null: none of them.
 */
export function readStoredHash(text: string): StoredHash | null {
  const plain = /^sha256:([0-9a-f]{64})$/i.exec(text);
  if (plain !== null) {
    const digest = Buffer.from(plain[1]!, "hex");
    return {
      isSlow: false,
      matches: (secret) => timingSafeEqual(hash("sha256", secret, "buffer"), digest),
    };
  }
  const parts = text.replace(/^\$/, "").split("$");
  if (parts[0] === "scrypt") return readScrypt(parts.slice(1));
  if (parts[0] === "argon2id") return readArgon2id(parts.slice(1));
  return null;
}

function readScrypt(parts: readonly string[]): StoredHash | null {
  const [cost, salt, digest] =
    parts.length === 5
      ? [numbers(`N=${parts[0]},r=${parts[1]},p=${parts[2]}`), bytes(parts[3]), bytes(parts[4])]
      : parts.length === 3
        ? [numbers(parts[0]!), bytes(parts[1]), bytes(parts[2])]
        : [null, null, null];
  if (cost === null || salt === null || digest === null) return null;
  const N = cost.get("N") ?? 2 ** (cost.get("ln") ?? 0);
  const r = cost.get("r") ?? 0;
  const p = cost.get("p") ?? 0;
  const isPower = N >= 2 && (N & (N - 1)) === 0;
  if (!isPower || r < 1 || p < 1 || p > 16 || 128 * N * r > maxMemoryBytes) return null;
  return {
    isSlow: true,
    matches: (secret) =>
      new Promise((resolve, reject) => {
        const options = { N, r, p, maxmem: 2 * maxMemoryBytes };
        scrypt(secret, salt, digest.length, options, (error, found) =>
          error === null ? resolve(timingSafeEqual(found, digest)) : reject(error),
        );
      }),
  };
}

function readArgon2id(parts: readonly string[]): StoredHash | null {
  if (parts.length !== 4 || parts[0] !== "v=19") return null;
  const [cost, nonce, digest] = [numbers(parts[1]!), bytes(parts[2]), bytes(parts[3])];
  if (cost === null || nonce === null || digest === null || nonce.length < 8) return null;
  const memory = cost.get("m") ?? 0;
  const passes = cost.get("t") ?? 0;
  const parallelism = cost.get("p") ?? 0;
  if (parallelism < 1 || parallelism > 16 || passes < 1 || passes > 64) return null;
  if (memory < 8 * parallelism || memory * 1024 > maxMemoryBytes) return null;
  return {
    isSlow: true,
    matches: (secret) =>
      new Promise((resolve, reject) => {
        const message = Buffer.from(secret);
        const options = { message, nonce, parallelism, tagLength: digest.length, memory, passes };
        argon2("argon2id", options, (error, found) =>
          error === null ? resolve(timingSafeEqual(found, digest)) : reject(error),
        );
      }),
  };
}

/** `ln=15,r=8,p=1` */
function numbers(text: string): Map<string, number> | null {
  const found = new Map<string, number>();
  for (const part of text.split(",")) {
    const pair = /^([A-Za-z]+)=(\d{1,9})$/.exec(part);
    if (pair === null) return null;
    found.set(pair[1]!, Number(pair[2]));
  }
  return found;
}

/** Base64 with or without padding, at most 128 bytes. */
function bytes(text: string | undefined): Buffer | null {
  if (text === undefined || !/^[A-Za-z0-9+/_-]{11,172}={0,2}$/.test(text)) return null;
  return Buffer.from(text, "base64");
}
