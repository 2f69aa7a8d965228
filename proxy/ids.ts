/** Request ids: 32 hex digits that are a W3C trace id too. */

import { randomBytes } from "node:crypto";

const hex = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, "0"));

/**
 * Makes ids without asking the system each time: half is random per generator, half comes from xorshift128 seeded
 * randomly (Marsaglia, 2003). Unique, never all zero; not a secret.
 */
export function createIds(): () => string {
  const seed = randomBytes(24);
  const prefix = seed
    .subarray(0, 8)
    .toString("hex")
    .replace(/^0{16}$/, "1".padStart(16, "0"));
  let x = seed.readInt32LE(8) | 1;
  let y = seed.readInt32LE(12);
  let z = seed.readInt32LE(16);
  let w = seed.readInt32LE(20);
  const next = (): number => {
    const t = x ^ (x << 11);
    x = y;
    y = z;
    z = w;
    w = w ^ (w >>> 19) ^ t ^ (t >>> 8);
    return w;
  };
  const word = (n: number): string =>
    hex[(n >>> 24) & 255]! + hex[(n >>> 16) & 255]! + hex[(n >>> 8) & 255]! + hex[n & 255]!;
  return () => prefix + word(next()) + word(next());
}
