/** Chunked transfer coding (RFC 9112 section 7.1): strict decoding, and encoding of our own chunks. */

import { Fields, Kind } from "../http/fields.ts";
import { latin1 } from "../http/latin1.ts";
import {
  bad,
  classes,
  claimArrays,
  HEX,
  NEED_MORE,
  releaseArrays,
  scanFields,
  tooLarge,
  VALUE,
} from "./scan.ts";

/** Bytes of chunk extensions per body: real ones are rare, floods are not (CVE-2024-22019). */
const EXTENSION_LIMIT = 16 * 1024;
/** Bytes of trailers. */
const TRAILER_LIMIT = 8 * 1024;
const TRAILER_COUNT = 64;

const State = {
  size: 0,
  extension: 1,
  sizeLf: 2,
  data: 3,
  dataCr: 4,
  dataLf: 5,
  trailers: 6,
  done: 7,
} as const;

/** Where decoded bytes go. */
export interface ChunkSink {
  /** Part of the body: `buf[start, end)`, valid only during the call. */
  onChunk(buf: Buffer, start: number, end: number): void;
}

/** Decodes one body. */
export class ChunkedDecoder {
  private state: number = State.size;
  private remaining = 0;
  private digits = 0;
  private extensionBytes = 0;
  private held: Buffer | null = null;
  /** Lines of the trailers that may be passed on, each ended by CRLF; empty: none. Complete once {@link isDone}. */
  trailers = "";

  get isDone(): boolean {
    return this.state === State.done;
  }

  /**
   * Feeds `buf[start, end)`.
   * @returns index after what was consumed, or BAD / TOO_LARGE
   */
  feed(buf: Buffer, start: number, end: number, sink: ChunkSink): number {
    let i = start;
    while (i < end && this.state !== State.done) {
      const c = buf[i]!;
      switch (this.state) {
        case State.size: {
          if ((classes[c]! & HEX) !== 0) {
            // 2^44 bytes is more than anyone sends, and far below what a double cannot count
            if (++this.digits > 11) return bad("chunk size too large");
            this.remaining = this.remaining * 16 + (c <= 57 ? c - 48 : (c | 32) - 87);
            i++;
          } else if (this.digits === 0) return bad("chunk size is not a hexadecimal number");
          else if (c === 13) {
            this.state = State.sizeLf;
            i++;
          } else if (c === 59) {
            this.state = State.extension;
            i++;
          } else return bad("chunk size is not a hexadecimal number");
          break;
        }
        case State.extension:
          if (c === 13) this.state = State.sizeLf;
          else if ((classes[c]! & VALUE) === 0)
            return bad("control character in a chunk extension");
          else if (++this.extensionBytes > EXTENSION_LIMIT)
            return tooLarge(`chunk extensions larger than ${EXTENSION_LIMIT} bytes`);
          i++;
          break;
        case State.sizeLf:
          if (c !== 10) return bad("chunk size line not ended by CRLF");
          i++;
          this.digits = 0;
          this.state = this.remaining === 0 ? State.trailers : State.data;
          break;
        case State.data: {
          const n = Math.min(this.remaining, end - i);
          sink.onChunk(buf, i, i + n);
          i += n;
          this.remaining -= n;
          if (this.remaining === 0) this.state = State.dataCr;
          break;
        }
        case State.dataCr:
          if (c !== 13) return bad("chunk data not ended by CRLF");
          i++;
          this.state = State.dataLf;
          break;
        case State.dataLf:
          if (c !== 10) return bad("chunk data not ended by CRLF");
          i++;
          this.state = State.size;
          break;
        case State.trailers: {
          const after = this.feedTrailers(buf, i, end);
          if (after < 0) return after;
          i = after;
          break;
        }
      }
    }
    return i;
  }

  private feedTrailers(buf: Buffer, start: number, end: number): number {
    if (this.held === null && buf[start] === 13 && start + 1 < end && buf[start + 1] === 10) {
      this.state = State.done;
      return start + 2;
    }
    const before = this.held?.length ?? 0;
    const all =
      this.held === null
        ? buf.subarray(start, end)
        : Buffer.concat([this.held, buf.subarray(start, end)]);
    const fields = new Fields();
    claimArrays(fields);
    const after = scanFields(all, 0, all.length, 0, fields, TRAILER_COUNT);
    if (after === NEED_MORE) {
      releaseArrays(fields);
      if (all.length > TRAILER_LIMIT)
        return tooLarge(`trailers larger than ${TRAILER_LIMIT} bytes`);
      this.held = Buffer.from(all);
      return end;
    }
    if (after >= 0) {
      if (after > TRAILER_LIMIT) return tooLarge(`trailers larger than ${TRAILER_LIMIT} bytes`);
      fields.raw = latin1(all, 0, after);
      const verdict = this.keepTrailers(fields);
      releaseArrays(fields);
      if (verdict < 0) return verdict;
      this.state = State.done;
      this.held = null;
      return start + after - before;
    }
    releaseArrays(fields);
    return after;
  }

  /** RFC 9110 section 6.5.1: what decides framing, routing, authentication or the content itself has no place in trailers. */
  private keepTrailers(fields: Fields): number {
    for (let i = 0; i < fields.count; i++) {
      const kind = fields.kinds[i]!;
      if (kind === Kind.contentLength || kind === Kind.transferEncoding || kind === Kind.host)
        return bad(`${fields.nameAt(i)} in the trailers`);
      if (kind !== Kind.other && kind !== Kind.grpcTimeout && kind !== Kind.date) continue;
      if (forbiddenTrailers.has(fields.nameAt(i).toLowerCase())) continue;
      this.trailers += `${fields.nameAt(i)}: ${fields.valueAt(i)}\r\n`;
    }
    return 0;
  }
}

/** Names that have no place in trailers (RFC 9110 section 6.5.1), besides those that decide framing. */
export const forbiddenTrailers: ReadonlySet<string> = new Set([
  "authorization",
  "cookie",
  "set-cookie",
  "content-encoding",
  "content-type",
  "content-range",
  "cache-control",
  "proxy-authorization",
  "proxy-authenticate",
  "www-authenticate",
  "location",
  "range",
  "max-forwards",
]);

/** The size line of a chunk of ours. */
export function chunkHead(length: number): string {
  return `${length.toString(16)}\r\n`;
}
