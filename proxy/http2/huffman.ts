/** The Huffman code of HPACK (RFC 7541, appendix B): canonical, so the lengths say it all. */

import { latin1 } from "../http/latin1.ts";

const lengths = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
  28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5,
  6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
  7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6,
  7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23,
  23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22,
  22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22,
  23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27,
  27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25,
  24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];
const EOS = 256;

/** Code of each symbol, right-aligned in `lengths[symbol]` bits. */
const codes = new Uint32Array(257);
{
  let code = 0;
  for (let length = 5; length <= 30; length++) {
    code *= 2;
    for (let symbol = 0; symbol <= EOS; symbol++)
      if (lengths[symbol] === length) codes[symbol] = code++;
  }
}

const EMITS = 1 << 9;
const FAILS = 0xffffffff;

/**
 * Decoding by nibbles: `next[state * 16 + nibble]` is the state afterwards, with the decoded symbol (a code is at least
 * five bits long, so a nibble ends at most one) in the upper bits. States are the inner nodes of the code's tree.
 *
 * `mayEnd[state]` is 1 where a string may end: only EOS padding (all ones, less than a byte) leads there.
 */
const { next, mayEnd } = buildDecoder();

interface Node {
  id: number;
  children: [Node | number | null, Node | number | null];
}

function buildDecoder(): { readonly next: Uint32Array; readonly mayEnd: Uint8Array } {
  const nodes: Node[] = [];
  const create = (): Node => {
    const node: Node = { id: nodes.length, children: [null, null] };
    nodes.push(node);
    return node;
  };
  const root = create();
  for (let symbol = 0; symbol <= EOS; symbol++) {
    let node = root;
    const length = lengths[symbol]!;
    for (let bit = length - 1; bit >= 0; bit--) {
      const side = ((codes[symbol]! >>> bit) & 1) as 0 | 1;
      if (bit === 0) node.children[side] = symbol;
      else node = (node.children[side] ??= create()) as Node;
    }
  }
  const ends = new Uint8Array(nodes.length);
  let padding: Node = root;
  for (let bits = 0; bits < 8; bits++) {
    ends[padding.id] = 1;
    padding = padding.children[1] as Node;
  }
  const table = new Uint32Array(nodes.length * 16);
  for (const from of nodes) {
    for (let nibble = 0; nibble < 16; nibble++) {
      let node = from;
      let emitted = -1;
      let failed = false;
      for (let bit = 3; bit >= 0 && !failed; bit--) {
        const child = node.children[((nibble >>> bit) & 1) as 0 | 1];
        if (child === null || child === EOS) failed = true;
        else if (typeof child === "number") {
          emitted = child;
          node = root;
        } else node = child;
      }
      const emits = emitted === -1 ? 0 : (emitted << 10) | EMITS;
      table[from.id * 16 + nibble] = failed ? FAILS : emits | node.id;
    }
  }
  return { next: table, mayEnd: ends };
}

const scratch = Buffer.allocUnsafeSlow(64 * 1024);

/** Decodes `buf[start, end)` to latin1 text; null when it is no valid Huffman string (RFC 7541 section 5.2). */
export function huffmanDecode(buf: Uint8Array, start: number, end: number): string | null {
  // the shortest code has five bits
  const room = Math.ceil(((end - start) * 8) / 5);
  const out = room <= scratch.length ? scratch : Buffer.allocUnsafe(room);
  let length = 0;
  let state = 0;
  for (let i = start; i < end; i++) {
    const byte = buf[i]!;
    let step = next[(state << 4) | (byte >>> 4)]!;
    if (step === FAILS) return null;
    if ((step & EMITS) !== 0) out[length++] = step >>> 10;
    state = step & 511;
    step = next[(state << 4) | (byte & 15)]!;
    if (step === FAILS) return null;
    if ((step & EMITS) !== 0) out[length++] = step >>> 10;
    state = step & 511;
  }
  return mayEnd[state] === 1 ? latin1(out, 0, length) : null;
}

/** Bytes that the text takes when encoded. */
export function huffmanLength(text: string): number {
  let bits = 0;
  for (let i = 0; i < text.length; i++) bits += lengths[text.charCodeAt(i) & 255]!;
  return (bits + 7) >>> 3;
}

/** Encodes latin1 text into `out` at `at`; returns the index after it. */
export function huffmanEncode(text: string, out: Uint8Array, at: number): number {
  let hold = 0;
  let bits = 0;
  for (let i = 0; i < text.length; i++) {
    const symbol = text.charCodeAt(i) & 255;
    const code = codes[symbol]!;
    let length = lengths[symbol]!;
    // at most 7 bits are held, so 24 more fit; longer codes go in two parts
    if (length > 24) {
      const high = length - 24;
      hold = (hold << high) | (code >>> 24);
      bits += high;
      while (bits >= 8) {
        bits -= 8;
        out[at++] = (hold >>> bits) & 255;
      }
      hold &= (1 << bits) - 1;
      length = 24;
    }
    hold = ((hold << length) | (code & (2 ** length - 1))) >>> 0;
    bits += length;
    while (bits >= 8) {
      bits -= 8;
      out[at++] = (hold >>> bits) & 255;
    }
    hold &= (1 << bits) - 1;
  }
  if (bits > 0) out[at++] = ((hold << (8 - bits)) | (255 >>> bits)) & 255;
  return at;
}
