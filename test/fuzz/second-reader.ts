/** A stream of HTTP/1.1 messages read twice: by weft's codecs in any pieces, and by Node's own parser (llhttp). */

import { createRequire } from "node:module";
import { RequestHead, ResponseHead } from "../../proxy/http/head.ts";
import type { Fields } from "../../proxy/http/fields.ts";
import { ChunkedDecoder } from "../../proxy/http1/chunked.ts";
import { parseRequestHead, parseResponseHead } from "../../proxy/http1/head.ts";
import { NEED_MORE } from "../../proxy/http1/scan.ts";

/** One message as a reader understood it. */
export interface Heard {
  /** Method and target, or status; the target as weft forwards it. */
  readonly start: string;
  /** Names and values in turn, as received. */
  readonly fields: readonly string[];
  readonly body: string;
}

/** What a reader made of a stream. */
export interface Reading {
  readonly messages: readonly Heard[];
  /** `refused`: these bytes are wrong; `more`: the last message is not whole; `over`: this connection carries no further one. */
  readonly end: "refused" | "more" | "over";
  /** The refusing parser's own word; empty otherwise. */
  readonly why: string;
}

const limits = { headerBytes: 60 * 1024, headerCount: 100 };

/** Names and values in turn. */
export function pairs(fields: Fields): string[] {
  return Array.from({ length: fields.count }, (_, i) => [
    fields.nameAt(i),
    fields.valueAt(i),
  ]).flat();
}

type Side = "request" | "response";

interface Opened {
  readonly heard: Heard;
  readonly framing: RequestHead["framing"];
  readonly length: number;
  readonly goesOn: boolean;
}

/** Weft's reading of `text`, handed over in the pieces that `cuts` (ascending positions) make. */
export function readByWeft(side: Side, text: string, cuts: readonly number[] = []): Reading {
  const bytes = Buffer.from(text, "latin1");
  const messages: Heard[] = [];
  let at = 0;
  let open: Opened | null = null;
  let body = "";
  let decoder: ChunkedDecoder | null = null;
  const sink = {
    onChunk: (buf: Buffer, start: number, end: number) =>
      void (body += buf.latin1Slice(start, end)),
  };
  for (const end of [...cuts.filter((cut) => cut < bytes.length), bytes.length]) {
    for (;;) {
      if (open === null) {
        const read: { result: number; open: Opened } = openMessage(side, bytes, at, end);
        if (read.result === NEED_MORE) break;
        if (read.result < 0) return { messages, end: "refused", why: "head" };
        at = read.result;
        open = read.open;
        body = "";
        decoder = open.framing === "chunked" ? new ChunkedDecoder() : null;
      }
      if (decoder !== null) {
        const after = decoder.feed(bytes, at, end, sink);
        if (after < 0) return { messages, end: "refused", why: "chunks" };
        at = after;
        if (!decoder.isDone) break;
      } else if (open.framing === "until-close") {
        body += bytes.latin1Slice(at, end);
        at = end;
        break;
      } else {
        const wanted = (open.framing === "length" ? open.length : 0) - body.length;
        const taken = Math.min(wanted, end - at);
        body += bytes.latin1Slice(at, at + taken);
        at += taken;
        if (taken < wanted) break;
      }
      messages.push({ ...open.heard, body });
      if (!open.goesOn) return { messages, end: "over", why: "" };
      open = null;
    }
  }
  if (open?.framing === "until-close")
    return { messages: [...messages, { ...open.heard, body }], end: "over", why: "" };
  return { messages, end: "more", why: "" };
}

function openMessage(
  side: Side,
  bytes: Buffer,
  at: number,
  end: number,
): { result: number; open: Opened } {
  if (side === "request") {
    const head = new RequestHead();
    const result = parseRequestHead(bytes, at, end, head, limits);
    const heard = {
      start: `${head.method} ${head.target}`,
      fields: result < 0 ? [] : pairs(head.headers),
      body: "",
    };
    const goesOn = head.keepAlive && head.upgrade === null && head.method !== "CONNECT";
    return { result, open: { heard, framing: head.framing, length: head.contentLength, goesOn } };
  }
  const head = new ResponseHead();
  const result = parseResponseHead(bytes, at, end, head, "GET", limits);
  const heard = {
    start: `${head.status}`,
    fields: result < 0 ? [] : pairs(head.headers),
    body: "",
  };
  const goesOn = head.keepAlive && head.status !== 101;
  return { result, open: { heard, framing: head.framing, length: head.contentLength, goesOn } };
}

/** The parts of Node's internal parser that are used here. */
interface NodeParser {
  initialize(type: number, resource: object, maxHeaderSize?: number, lenient?: number): void;
  execute(data: Buffer): number | (Error & { code?: string });
  finish(): unknown;
  [slot: number]: unknown;
}
const { HTTPParser } = createRequire(import.meta.url)("_http_common") as {
  HTTPParser: {
    new (): NodeParser;
    REQUEST: number;
    RESPONSE: number;
    kOnHeadersComplete: number;
    kOnHeaders: number;
    kOnBody: number;
    kOnMessageComplete: number;
  };
};
/** The first of llhttp's method numbers. */
const methodNames = ["DELETE", "GET", "HEAD", "POST", "PUT", "CONNECT", "OPTIONS"];

/** Node's reading of the same bytes, in one piece. */
export function readByNode(side: Side, text: string): Reading {
  const parser = new HTTPParser();
  parser.initialize(HTTPParser[side === "request" ? "REQUEST" : "RESPONSE"], {}, 1 << 20, 0);
  const messages: Heard[] = [];
  let fields: string[] = [];
  let url = "";
  let start = "";
  let body = "";
  let isOpen = false;
  let isOver = false;
  let isUpgrade = false;
  parser[HTTPParser.kOnHeaders] = (headers: string[], part: string) => {
    if (isOpen) return;
    fields.push(...headers);
    url += part;
  };
  parser[HTTPParser.kOnHeadersComplete] = (
    ...[, , headers, method, part, status, , upgrade, keepAlive]: [
      number,
      number,
      string[] | undefined,
      number,
      string | undefined,
      number,
      string,
      boolean,
      boolean,
    ]
  ) => {
    fields.push(...(headers ?? []));
    url += part ?? "";
    start = side === "request" ? `${methodNames[method]} ${url}` : `${status}`;
    isOpen = true;
    body = "";
    isUpgrade ||= upgrade;
    isOver = upgrade || !keepAlive;
    return 0;
  };
  parser[HTTPParser.kOnBody] = (chunk: Buffer) => void (body += chunk.latin1Slice());
  parser[HTTPParser.kOnMessageComplete] = () => {
    messages.push({ start, fields, body });
    fields = [];
    url = "";
    isOpen = false;
  };
  const result = parser.execute(Buffer.from(text, "latin1"));
  const failed = typeof result === "number" ? null : result;
  if (failed === null && isOpen && side === "response") parser.finish();
  if (failed !== null) return { messages, end: "refused", why: failed.code ?? failed.message };
  return { messages, end: isOver ? "over" : "more", why: isUpgrade ? "upgrade" : "" };
}
