/** Streams of HTTP/1.1 messages for the codecs to read: well-formed ones, and ones damaged where it hurts. */

import fc from "fast-check";

/** One message and where each ends, so that damage can be told from what follows. */
const token = fc.stringMatching(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,12}$/);
const value = fc
  .string({ maxLength: 24, unit: fc.constantFrom(...'abcXYZ019 \t,;:="/()<>@\x80\xe9\xff') })
  .map((text) => text.trim());
const text = fc.string({ maxLength: 40, unit: "binary-ascii" });

/** Names that decide nothing, in the ways in which they are written. */
const field = fc
  .tuple(
    fc.oneof(
      token.filter(
        (name) =>
          !/^(content-length|transfer-encoding|host|connection|upgrade|expect|keep-alive|proxy-connection)$/i.test(
            name,
          ),
      ),
      fc.constantFrom("Accept", "cookie", "X-Forwarded-For", "TE", "Via", "Date", "grpc-timeout"),
    ),
    fc.constantFrom(": ", ":", ":\t", ":   "),
    value,
    fc.constantFrom("", " ", "\t "),
  )
  .map(([name, colon, content, after]) => `${name}${colon}${content}${after}\r\n`);

const extension = fc.constantFrom("", "", "", ";a", ";a=b", ';a="b c"', ";a;b=1");
const chunked = fc
  .tuple(
    fc.array(
      fc.tuple(
        text.filter((part) => part !== ""),
        extension,
        fc.boolean(),
      ),
      { maxLength: 4 },
    ),
    fc.array(
      token.map((name) => `x-${name}: t\r\n`),
      { maxLength: 2 },
    ),
  )
  .map(([chunks, trailers]) => {
    const parts = chunks.map(([part, more, upper]) => {
      const size = part.length.toString(16);
      return `${upper ? `0${size.toUpperCase()}` : size}${more}\r\n${part}\r\n`;
    });
    return `${parts.join("")}0\r\n${trailers.join("")}\r\n`;
  });

const framed = fc.oneof(
  fc.constant({ line: "", body: "" }),
  text.map((body) => ({ line: `Content-Length: ${body.length}\r\n`, body })),
  chunked.map((body) => ({ line: "Transfer-Encoding: chunked\r\n", body })),
);

const hop = fc.constantFrom(
  "",
  "",
  "",
  "",
  "Connection: keep-alive\r\n",
  "Connection: x-hop, close\r\n",
  "Connection: TE\r\n",
);

/** A request, whole. */
export const request = fc
  .tuple(
    fc.constantFrom("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"),
    fc.constantFrom("/", "/a/b?c=d", "/%41/..;x", "http://a/x", "http://A:80?q", "*", "/a%2Fb"),
    fc.array(field, { maxLength: 5 }),
    framed,
    hop,
    fc.nat(5),
  )
  .map(([method, target, fields, { line, body }, connection, at]) => {
    const lines = [...fields];
    lines.splice(at, 0, line);
    const shown = target === "*" && method !== "OPTIONS" ? "/*" : target;
    return `${method} ${shown} HTTP/1.1\r\nHost: a\r\n${lines.join("")}${connection}\r\n${body}`;
  });

/** An answer, whole; without framing it lasts as long as its connection. */
export const response = fc
  .tuple(
    fc.constantFrom(
      "200 OK",
      "204 No Content",
      "304 Not Modified",
      "103 Early Hints",
      "404 ",
      "500 Oh d\xe9ar",
    ),
    fc.array(field, { maxLength: 5 }),
    framed,
    hop,
  )
  .map(([status, fields, { line, body }, connection]) => {
    const bodyless = /^(1|204|304)/.test(status);
    return `HTTP/1.1 ${status}\r\n${fields.join("")}${bodyless ? "" : line}${connection}\r\n${bodyless ? "" : body}`;
  });

/** What is put into a stream to break it. */
const nasty = fc.constantFrom(
  "\r",
  "\n",
  "\r\n",
  "\n\n",
  "\r\n\r\n",
  "\r\n ",
  "\0",
  " ",
  "\t",
  ":",
  ",",
  ";",
  "\x0b",
  "\x7f",
  "\xe9",
  "0",
  "1",
  "f",
  "-",
  "+",
  "_",
  "#",
  "*",
  "0\r\n\r\n",
  "chunked",
  "identity",
  "close",
  "upgrade",
  "Transfer-Encoding: chunked\r\n",
  "Transfer-Encoding: gzip, chunked\r\n",
  "Transfer-Encoding : chunked\r\n",
  "Content-Length: 0\r\n",
  "Content-Length: 5\r\n",
  "content-length:5\r\n",
  "Content-Length: 5, 5\r\n",
  "Host: b\r\n",
  "Host: a\r\n",
  "Connection: content-length\r\n",
  "Connection: Upgrade\r\nUpgrade: websocket\r\n",
  "Expect: 100-continue\r\n",
  "HTTP/1.0",
  "HTTP/1.1",
  "HTTP/2.0",
  "http://b",
  "GET /evil HTTP/1.1\r\nHost: evil\r\n\r\n",
  "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
);

/** Damage at any place, up to four times; none at all sometimes. */
export function damaged(stream: fc.Arbitrary<string>): fc.Arbitrary<string> {
  const edits = fc.array(fc.record({ at: fc.nat(400), drop: fc.nat(6), put: nasty }), {
    maxLength: 4,
  });
  return fc.tuple(stream, edits).map(([whole, list]) => {
    let changed = whole;
    for (const { at, drop, put } of list) {
      const place = at % (changed.length + 1);
      changed = changed.slice(0, place) + put + changed.slice(place + drop);
    }
    return changed;
  });
}

/** One to three messages behind one another. */
export function streamOf(message: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc.array(message, { minLength: 1, maxLength: 3 }).map((all) => all.join(""));
}

/** Ascending positions at which a stream is cut; some streams byte by byte. */
export const cuts: fc.Arbitrary<readonly number[]> = fc.oneof(
  fc.constant(Array.from({ length: 2000 }, (_, i) => i + 1)),
  fc
    .uniqueArray(fc.integer({ min: 1, max: 600 }), { maxLength: 6 })
    .map((list) => list.sort((a, b) => a - b)),
);
