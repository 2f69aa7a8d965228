/** The shape of keys that weft makes, `<prefix>_<secret>_<checksum>`: found by scanners for leaked secrets, refused without a look-up when mistyped. */

import { crc32 } from "node:zlib";

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** CRC-32 in base 62, six characters: tells a mistyped or invented key from a leaked one without a look-up. */
export function checksum(text: string): string {
  let rest = crc32(text);
  let digits = "";
  for (let i = 0; i < 6; i++) {
    digits = alphabet[rest % 62]! + digits;
    rest = Math.floor(rest / 62);
  }
  return digits;
}

/** True for a key with this prefix whose checksum is right. */
export function isWellFormed(key: string, prefix: string): boolean {
  if (key.length !== prefix.length + 40 || !key.startsWith(`${prefix}_`)) return false;
  return key.at(-7) === "_" && checksum(key.slice(0, -7)) === key.slice(-6);
}
