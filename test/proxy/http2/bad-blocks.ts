/** Header blocks that no decoder may take (RFC 7541), for either end of a connection: RFC 9113 section 4.3 makes each a connection error. */

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(" ", ""), "hex");

/** Section and sentence, and the block. */
export const badBlocks: readonly (readonly [name: string, block: Buffer])[] = [
  ["2.3.3: an index beyond both tables", hex("be")],
  ["2.3.3: a name beyond both tables", hex("7f 81 1f 01 61")],
  ["4.2: a table larger than we allow", hex("3f e2 1f")],
  ["4.2: a change of the table's size behind a field", hex("82 20")],
  ["5.1: an integer that overflows", hex("ff ff ff ff ff ff ff ff ff ff 01")],
  ["5.1: an integer without end", hex("ff 80 80")],
  ["5.2: a string that is longer than its block", hex("00 01 61 7f 10 62")],
  ["5.2: a literal without its value", hex("00 01 61")],
  ["5.2: a literal without its name", hex("40")],
  ["5.2: Huffman padding of eight bits", hex("00 01 61 82 1f ff")],
  ["5.2: Huffman padding of zeros", hex("00 01 61 81 18")],
  ["5.2: EOS inside a Huffman string", hex("00 01 61 84 ff ff ff fc")],
  ["6.1: index 0", hex("80")],
];
