/** The hash of shared tables, against the plain form of the algorithm. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { SeededHash } from "../../../proxy/observe/shared-hash.ts";

const words = fc.string({ unit: "binary", maxLength: 40 });

/** HalfSipHash-1-3 as its paper writes it, over words of 32 bits. */
function reference(seed: readonly [number, number], message: readonly number[]): [number, number] {
  const [k0, k1] = seed;
  let v = [k0, k1 ^ 0xee, 0x6c796765 ^ k0, 0x74656462 ^ k1];
  const rotate = (x: number, by: number): number => (x << by) | (x >>> (32 - by));
  const round = (): void => {
    let [v0, v1, v2, v3] = v as [number, number, number, number];
    v0 = (v0 + v1) | 0;
    v1 = rotate(v1, 5) ^ v0;
    v0 = rotate(v0, 16);
    v2 = (v2 + v3) | 0;
    v3 = rotate(v3, 8) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = rotate(v3, 7) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = rotate(v1, 13) ^ v2;
    v2 = rotate(v2, 16);
    v = [v0, v1, v2, v3];
  };
  for (const word of message) {
    v[3]! ^= word;
    round();
    v[0]! ^= word;
  }
  v[2]! ^= 0xee;
  for (let i = 0; i < 3; i++) round();
  const a = v[1]! ^ v[3]!;
  v[1]! ^= 0xdd;
  for (let i = 0; i < 3; i++) round();
  return [a, v[1]! ^ v[3]!];
}

/** Two units to a word, the one left over or nothing, the length. */
function toWords(text: string): number[] {
  const found: number[] = [];
  for (let i = 0; i + 1 < text.length; i += 2)
    found.push(text.charCodeAt(i) | (text.charCodeAt(i + 1) << 16));
  found.push(text.length % 2 === 1 ? text.charCodeAt(text.length - 1) : 0);
  return [...found, text.length];
}

test("is HalfSipHash-1-3 of the text's units and its length", () => {
  fc.assert(
    fc.property(fc.integer(), fc.integer(), words, (k0, k1, text) => {
      const hash = new SeededHash(k0, k1);
      hash.hash(text);
      assert.deepEqual([hash.a, hash.b], reference([k0, k1], toWords(text)));
    }),
  );
});

test("goes on from a beginning as if it had come before the text", () => {
  fc.assert(
    fc.property(fc.integer(), words, words, (k0, prefix, text) => {
      const hash = new SeededHash(k0, 7);
      const even = prefix.length % 2 === 0 ? prefix : `${prefix}\0`;
      hash.hash(text, hash.start(prefix));
      const message = [...toWords(even).slice(0, -2), ...toWords(text)];
      assert.deepEqual([hash.a, hash.b], reference([k0, 7], message));
    }),
  );
});

test("a beginning is not changed by what goes on from it", () => {
  const hash = new SeededHash(1, 2);
  const start = hash.start("a limit");
  hash.hash("key", start);
  const first = [hash.a, hash.b];
  hash.hash("another", start);
  hash.hash("and one without");
  hash.hash("key", start);
  assert.deepEqual([hash.a, hash.b], first);
});
