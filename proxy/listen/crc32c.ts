/** CRC-32C (Castagnoli, RFC 3720 appendix B.4): the checksum that a PROXY v2 header may carry. */

const table = new Uint32Array(256);
for (let byte = 0; byte < 256; byte++) {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (value & 1 ? 0x82f63b78 : 0);
  table[byte] = value >>> 0;
}

/** Of `bytes`, with those from `from` to `to` (exclusive) counted as zeros: where the checksum itself stands. */
export function crc32c(bytes: Uint8Array, from = 0, to = 0): number {
  let value = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) {
    const byte = i >= from && i < to ? 0 : bytes[i]!;
    value = table[(value ^ byte) & 0xff]! ^ (value >>> 8);
  }
  return (value ^ 0xffffffff) >>> 0;
}
