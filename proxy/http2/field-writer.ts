/** Heads and trailers of the proxy to HPACK: names in lower case, what belongs to one hop of HTTP/1.1 left out. */

import type { Fields } from "../http/fields.ts";
import type { ResponseHead } from "../http/head.ts";
import { hopByHop } from "../http1/serialise.ts";
import { HpackEncoder } from "./hpack-encoder.ts";

/** Upper bound on what {@link writeFields} writes, in bytes. */
export function boundOfFields(fields: Fields): number {
  let bound = fields.raw.length + HpackEncoder.bound(0) * fields.count;
  if (fields.edits !== null)
    for (const { name, value } of fields.edits)
      if (name !== null) bound += HpackEncoder.bound(name.length + value.length + 2);
  return bound;
}

/** Upper bound for {@link writeLines}: a line has at least its colon and CRLF. */
export function boundOfLines(lines: string): number {
  return lines.length + (lines.length >> 2) * HpackEncoder.bound(0);
}

/** The fields that are not dropped, with edits over them. */
export function writeFields(
  encoder: HpackEncoder,
  out: Buffer,
  at: number,
  fields: Fields,
  drop: Uint8Array,
): number {
  const { raw, kinds, offsets, count, edits, secrets } = fields;
  for (let i = 0; i < count; i++) {
    if (drop[kinds[i]!] === 1 || (edits !== null && fields.isReplacedAt(i))) continue;
    const o = i * 4;
    if (secrets !== null && secrets.includes(i)) {
      at = encoder.secret(out, at, fields.nameAt(i), fields.valueAt(i));
      continue;
    }
    at = encoder.line(out, at, raw, offsets[o]!, offsets[o + 1]!, offsets[o + 2]!, offsets[o + 3]!);
  }
  if (edits !== null)
    for (const { name, value } of edits)
      if (name !== null) at = encoder.field(out, at, name, value);
  return at;
}

/** Lines of our own or of trailers: `name: value`, each ended by CRLF. */
export function writeLines(encoder: HpackEncoder, out: Buffer, at: number, lines: string): number {
  let from = 0;
  while (from < lines.length) {
    const end = lines.indexOf("\r\n", from);
    const colon = lines.indexOf(":", from);
    at = encoder.line(out, at, lines, from, colon, colon + 2, end);
    from = end + 2;
  }
  return at;
}

/** Upper bound on what {@link writeResponse} writes, in bytes. */
export function boundOfResponse(head: ResponseHead, extra: string): number {
  return boundOfFields(head.headers) + boundOfLines(extra) + 64;
}

/**
 * A whole response block.
 * @param extra lines that weft adds, each ended by CRLF
 * @param contentLength -1: none is announced
 */
export function writeResponse(
  encoder: HpackEncoder,
  out: Buffer,
  at: number,
  head: ResponseHead,
  extra: string,
  contentLength: number,
): number {
  at = encoder.status(out, encoder.begin(out, at), head.status);
  at = writeFields(encoder, out, at, head.headers, hopByHop);
  if (extra !== "") at = writeLines(encoder, out, at, extra);
  if (contentLength >= 0) at = encoder.field(out, at, "content-length", String(contentLength));
  return at;
}
