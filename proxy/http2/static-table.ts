/** The static table of HPACK (RFC 7541, appendix A). */

import { Line, nameOf } from "./field-names.ts";

const pairs: readonly (readonly [string, string])[] = [
  [":authority", ""],
  [":method", "GET"],
  [":method", "POST"],
  [":path", "/"],
  [":path", "/index.html"],
  [":scheme", "http"],
  [":scheme", "https"],
  [":status", "200"],
  [":status", "204"],
  [":status", "206"],
  [":status", "304"],
  [":status", "400"],
  [":status", "404"],
  [":status", "500"],
  ["accept-charset", ""],
  ["accept-encoding", "gzip, deflate"],
  ["accept-language", ""],
  ["accept-ranges", ""],
  ["accept", ""],
  ["access-control-allow-origin", ""],
  ["age", ""],
  ["allow", ""],
  ["authorization", ""],
  ["cache-control", ""],
  ["content-disposition", ""],
  ["content-encoding", ""],
  ["content-language", ""],
  ["content-length", ""],
  ["content-location", ""],
  ["content-range", ""],
  ["content-type", ""],
  ["cookie", ""],
  ["date", ""],
  ["etag", ""],
  ["expect", ""],
  ["expires", ""],
  ["from", ""],
  ["host", ""],
  ["if-match", ""],
  ["if-modified-since", ""],
  ["if-none-match", ""],
  ["if-range", ""],
  ["if-unmodified-since", ""],
  ["last-modified", ""],
  ["link", ""],
  ["location", ""],
  ["max-forwards", ""],
  ["proxy-authenticate", ""],
  ["proxy-authorization", ""],
  ["range", ""],
  ["referer", ""],
  ["refresh", ""],
  ["retry-after", ""],
  ["server", ""],
  ["set-cookie", ""],
  ["strict-transport-security", ""],
  ["transfer-encoding", ""],
  ["user-agent", ""],
  ["vary", ""],
  ["via", ""],
  ["www-authenticate", ""],
];

/** By index; index 0 is never used and holds the first entry. */
export const staticLines: readonly Line[] = [pairs[0]!, ...pairs].map(
  ([name, value]) => new Line(nameOf(name), value),
);

/** Entries of the table: dynamic indexes begin above. */
export const staticCount = pairs.length;

/** The lowest index of each name. */
export const staticNames: ReadonlyMap<string, number> = new Map(
  pairs.map(([name], i) => [name, i + 1] as const).reverse(),
);

/** Index of a whole line by `name: value`, for those that have a value. */
export const staticPairs: ReadonlyMap<string, number> = new Map(
  pairs.flatMap(([name, value], i) =>
    value === "" ? [] : [[`${name}: ${value}`, i + 1] as const],
  ),
);
