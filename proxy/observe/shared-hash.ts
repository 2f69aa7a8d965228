/** A keyed 64-bit hash of texts, so that nobody outside can make two keys meet in a shared table. */

/** What {@link SeededHash.start} has made of a text: four words. */
export type HashStart = Readonly<Int32Array>;

/** HalfSipHash-1-3 with a 64-bit result (Aumasson and Bernstein, 2012), over UTF-16 units taken two at a time. */
export class SeededHash {
  /** The result of the last {@link hash}: two signed 32-bit halves. */
  a = 0;
  b = 0;
  private readonly fresh: HashStart;
  private readonly end = new Int32Array(4);

  /** @param k0 secret, 32 bits; the same in all threads that share a table */
  constructor(k0: number, k1: number) {
    this.fresh = Int32Array.of(k0, k1 ^ 0xee, 0x6c796765 ^ k0, 0x74656462 ^ k1);
  }

  /** The text that many others begin with, hashed once. Its length is made even with a NUL. */
  start(text: string): HashStart {
    const end = new Int32Array(4);
    const pairs = (text.length + 1) >> 1;
    this.run({ text: text.padEnd(2 * pairs, "\0"), from: this.fresh, end }, pairs);
    return end;
  }

  /** @param from what comes before the text; default: nothing */
  hash(text: string, from: HashStart = this.fresh): void {
    const { end } = this;
    this.run({ text, from, end }, (text.length >> 1) + 8);
    this.b = end[1]! ^ end[3]!;
  }

  /** One step per pair of units, two for the rest and the length, three for each half of the result. */
  private run(
    work: { readonly text: string; readonly from: HashStart; readonly end: Int32Array },
    steps: number,
  ): void {
    const { text, from, end } = work;
    const { length } = text;
    const pairs = length >> 1;
    let v0 = from[0]!;
    let v1 = from[1]!;
    let v2 = from[2]!;
    let v3 = from[3]!;
    for (let i = 0; i < steps; i++) {
      let m = 0;
      if (i < pairs) m = text.charCodeAt(2 * i) | (text.charCodeAt(2 * i + 1) << 16);
      else if (i === pairs) m = length % 2 === 1 ? text.charCodeAt(length - 1) : 0;
      // the length: 'a' and 'a\0' differ
      else if (i === pairs + 1) m = length;
      else if (i === pairs + 2) v2 ^= 0xee;
      else if (i === pairs + 5) {
        this.a = v1 ^ v3;
        v1 ^= 0xdd;
      }
      v3 ^= m;
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
      v0 ^= m;
    }
    end[0] = v0;
    end[1] = v1;
    end[2] = v2;
    end[3] = v3;
  }
}
