/** The server name in a TLS ClientHello: read before the handshake begins, since it decides which certificates take part in it. */

export type ClientHello =
  | { readonly kind: "more" }
  /** Lower case; null: none, or not readable, which the handshake itself then refuses. */
  | { readonly kind: "hello"; readonly serverName: string | null };

const more: ClientHello = { kind: "more" };
const nameless: ClientHello = { kind: "hello", serverName: null };

/** Real ones stay below 4 KiB, key shares against quantum computers included; OpenSSL takes up to 128 KiB. */
const maxHelloBytes = 16 * 1024;

/**
 * Looks into the first TLS records of a connection (RFC 8446 sections 4.1.2 and 5.1, RFC 6066 section 3).
 * `more`: what is there is the beginning of a ClientHello. Never throws; what is odd has no name.
 *
 * Node offers a callback for this, but it can put forward one certificate only: a name with an RSA and an ECDSA
 * certificate would fail for half of the clients.
 */
export function readClientHello(bytes: Buffer): ClientHello {
  // one byte tells TLS from the rest, five tell the record's length
  if (bytes.length > 0 && bytes[0] !== 0x16) return nameless;
  const message = handshakeMessage(bytes);
  if (message === "more") return more;
  return message === null ? nameless : { kind: "hello", serverName: serverNameIn(message) };
}

/** The body of the ClientHello, put together from its records. */
function handshakeMessage(bytes: Buffer): Buffer | "more" | null {
  const parts: Buffer[] = [];
  let have = 0;
  let at = 0;
  for (;;) {
    if (at + 5 > bytes.length) return "more";
    const size = bytes.readUInt16BE(at + 3);
    if (bytes[at] !== 0x16 || bytes[at + 1] !== 3 || size === 0 || size > 16_384) return null;
    const part = bytes.subarray(at + 5, at + 5 + size);
    parts.push(part);
    have += part.length;
    const message = parts.length === 1 ? part : Buffer.concat(parts);
    if (have >= 4) {
      const length = message.readUIntBE(1, 3);
      if (message[0] !== 1 || length > maxHelloBytes) return null;
      if (have >= 4 + length) return message.subarray(4, 4 + length);
    }
    if (part.length < size) return "more";
    at += 5 + size;
  }
}

function serverNameIn(hello: Buffer): string | null {
  // version and random, then three vectors with lengths of one, two and one bytes
  let at = 34;
  for (const width of [1, 2, 1]) {
    if (at + width > hello.length) return null;
    at += width + hello.readUIntBE(at, width);
  }
  if (at + 2 > hello.length) return null;
  const end = Math.min(at + 2 + hello.readUInt16BE(at), hello.length);
  at += 2;
  while (at + 4 <= end) {
    const type = hello.readUInt16BE(at);
    const size = hello.readUInt16BE(at + 2);
    at += 4;
    if (at + size > end) return null;
    if (type === 0) return hostNameIn(hello.subarray(at, at + size));
    at += size;
  }
  return null;
}

/** A list of names, of which only `host_name` exists. */
function hostNameIn(list: Buffer): string | null {
  if (list.length < 5 || list[2] !== 0) return null;
  const size = list.readUInt16BE(3);
  if (size === 0 || size > 255 || 5 + size > list.length) return null;
  const name = list.toString("latin1", 5, 5 + size);
  return /^[A-Za-z0-9._-]+$/.test(name) ? name.toLowerCase() : null;
}
