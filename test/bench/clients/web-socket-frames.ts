/** Binary messages of WebSocket (RFC 6455 section 5.2) up to 125 bytes, which is all that the benchmark sends. */

/** RFC 6455 section 1.3. */
export const webSocketGuid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const MASKED = 0x80;

/** Calls `onMessage` with the length of each whole message's payload; returns what follows the last of them. */
export function cutMessages(bytes: Buffer, onMessage: (length: number) => void): Buffer {
  let at = 0;
  while (bytes.length - at >= 2) {
    const second = bytes[at + 1]!;
    const length = second & 0x7f;
    if (length > 125) throw new Error("a message longer than the benchmark sends");
    const after = at + 2 + ((second & MASKED) === 0 ? 0 : 4) + length;
    if (after > bytes.length) break;
    onMessage(length);
    at = after;
  }
  return Buffer.from(bytes.subarray(at));
}

/** A message as a server sends it. */
export function serverMessage(length: number): Buffer {
  return Buffer.from([0x82, length, ...new Uint8Array(length)]);
}

/** A message as a client sends it, masked with zeros. */
export function clientMessage(length: number): Buffer {
  return Buffer.from([0x82, MASKED | length, 0, 0, 0, 0, ...new Uint8Array(length)]);
}
