/** A keyed 64-bit hash of texts, so that nobody outside can make two keys meet in a shared table. */

/** HalfSipHash-1-3 with a 64-bit result (Aumasson and Bernstein, 2012), over UTF-16 units taken two at a time. */
export class SeededHash {
  /** The result of the last {@link hash}: two signed 32-bit halves. */
  a = 0;
  b = 0;
  private v0 = 0;
  private v1 = 0;
  private v2 = 0;
  private v3 = 0;
  private readonly k0: number;
  private readonly k1: number;

  /** @param k0 secret, 32 bits; the same in all threads that share a table */
  constructor(k0: number, k1: number) {
    this.k0 = k0 | 0;
    this.k1 = k1 | 0;
  }

  hash(text: string): void {
    this.v0 = this.k0;
    this.v1 = this.k1 ^ 0xee;
    this.v2 = 0x6c796765 ^ this.k0;
    this.v3 = 0x74656462 ^ this.k1;
    const even = text.length & ~1;
    for (let i = 0; i < even; i += 2)
      this.word(text.charCodeAt(i) | (text.charCodeAt(i + 1) << 16));
    // the last word carries the length: 'a' and 'a\0' differ
    this.word(even < text.length ? text.charCodeAt(even) : 0);
    this.word(text.length);
    this.v2 ^= 0xee;
    this.round();
    this.round();
    this.round();
    this.a = this.v1 ^ this.v3;
    this.v1 ^= 0xdd;
    this.round();
    this.round();
    this.round();
    this.b = this.v1 ^ this.v3;
  }

  private word(m: number): void {
    this.v3 ^= m;
    this.round();
    this.v0 ^= m;
  }

  private round(): void {
    let { v0, v1, v2, v3 } = this;
    v0 = (v0 + v1) | 0;
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
    v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0;
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
    v2 = (v2 << 16) | (v2 >>> 16);
    this.v0 = v0;
    this.v1 = v1;
    this.v2 = v2;
    this.v3 = v3;
  }
}
