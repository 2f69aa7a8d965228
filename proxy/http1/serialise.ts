/** Heads to text: untouched runs of fields go on as they came; framing is written here and nowhere else. */

import { Kind, type Fields } from "../http/fields.ts";
import type { ResponseHead } from "../http/head.ts";
import { httpDate } from "../http/respond.ts";
import type { OutgoingRequest } from "../http/stream.ts";

/** Per {@link Kind}: 1 = belongs to this hop, never forwarded as it came (RFC 9110 section 7.6.1). */
export const hopByHop = new Uint8Array(32);
for (const kind of [
  Kind.contentLength,
  Kind.transferEncoding,
  Kind.connection,
  Kind.keepAlive,
  Kind.proxyConnection,
  Kind.te,
  Kind.trailer,
  Kind.upgrade,
  Kind.named,
]) {
  hopByHop[kind] = 1;
}

const reasons: Readonly<Record<number, string>> = {
  100: "Continue",
  101: "Switching Protocols",
  102: "Processing",
  103: "Early Hints",
  200: "OK",
  201: "Created",
  202: "Accepted",
  203: "Non-Authoritative Information",
  204: "No Content",
  205: "Reset Content",
  206: "Partial Content",
  207: "Multi-Status",
  208: "Already Reported",
  226: "IM Used",
  300: "Multiple Choices",
  301: "Moved Permanently",
  302: "Found",
  303: "See Other",
  304: "Not Modified",
  307: "Temporary Redirect",
  308: "Permanent Redirect",
  400: "Bad Request",
  401: "Unauthorized",
  402: "Payment Required",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  406: "Not Acceptable",
  407: "Proxy Authentication Required",
  408: "Request Timeout",
  409: "Conflict",
  410: "Gone",
  411: "Length Required",
  412: "Precondition Failed",
  413: "Content Too Large",
  414: "URI Too Long",
  415: "Unsupported Media Type",
  416: "Range Not Satisfiable",
  417: "Expectation Failed",
  418: "I'm a Teapot",
  421: "Misdirected Request",
  422: "Unprocessable Content",
  423: "Locked",
  424: "Failed Dependency",
  425: "Too Early",
  426: "Upgrade Required",
  428: "Precondition Required",
  429: "Too Many Requests",
  431: "Request Header Fields Too Large",
  451: "Unavailable For Legal Reasons",
  500: "Internal Server Error",
  501: "Not Implemented",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
  505: "HTTP Version Not Supported",
  507: "Insufficient Storage",
  508: "Loop Detected",
  511: "Network Authentication Required",
};

/** The registered reason phrase, or empty. */
export function reasonOf(status: number): string {
  return reasons[status] ?? "";
}

/** Fields of a head that are not dropped, as lines; edits of plugins last. */
function lines(fields: Fields, drop: Uint8Array, from: number): string {
  const { raw, kinds, offsets, count, edits } = fields;
  let out = "";
  let run = from;
  for (let i = 0; i < count; i++) {
    if (drop[kinds[i]!] === 1 || (edits !== null && fields.isReplacedAt(i))) {
      const start = offsets[i * 4]!;
      if (run >= 0 && run < start) out += raw.slice(run, start);
      run = -1;
    } else if (run < 0) run = offsets[i * 4]!;
  }
  // the raw text ends with the empty line, which is not part of the run
  if (run >= 0 && run < raw.length - 2) out += raw.slice(run, raw.length - 2);
  if (edits !== null)
    for (const edit of edits) if (edit.name !== null) out += `${edit.name}: ${edit.value}\r\n`;
  return out;
}

/** The head that goes to an endpoint; `drop` includes {@link hopByHop} and Host. */
export function requestHeadText(request: OutgoingRequest): string {
  const { req, fields, target, authority, drop, extra } = request;
  let out = `${req.method} ${target} HTTP/1.1\r\nhost: ${authority}\r\n${lines(fields, drop, -1)}${extra}`;
  if (req.framing === "length") out += `content-length: ${req.contentLength}\r\n`;
  else if (req.framing === "chunked") out += "transfer-encoding: chunked\r\n";
  return `${out}\r\n`;
}

function hasDate(fields: Fields): boolean {
  const { kinds, count } = fields;
  for (let i = 0; i < count; i++) if (kinds[i] === Kind.date) return true;
  return false;
}

/** How the answer's body is delimited towards this caller. */
export type DownstreamFraming = "none" | "length" | "chunked" | "close";

/**
 * The head that goes to a caller.
 * @param bodyless the answer has no body by its status or by the request's method; Content-Length of a HEAD answer stays
 */
export function responseHeadText(
  res: ResponseHead,
  framing: DownstreamFraming,
  closes: boolean,
  oldKeepAlive: boolean,
  extra: string,
): string {
  const fields = res.headers;
  let out: string;
  if (res.version === 11 && res.source === "upstream" && fields.raw !== "" && res.reason !== "") {
    out = lines(fields, hopByHop, 0);
  } else {
    const reason = res.reason === "" ? reasonOf(res.status) : res.reason;
    out = `HTTP/1.1 ${res.status} ${reason}\r\n${lines(fields, hopByHop, -1)}`;
  }
  out += extra;
  // RFC 9110 section 6.6.1: who forwards an answer without a Date says when it came
  if (res.source === "upstream" && res.status >= 200 && !hasDate(fields))
    out += `date: ${httpDate()}\r\n`;
  if (
    framing === "length" ||
    (framing === "none" && res.contentLength >= 0 && res.status >= 200 && res.status !== 204)
  ) {
    out += `content-length: ${res.contentLength}\r\n`;
  } else if (framing === "chunked") out += "transfer-encoding: chunked\r\n";
  if (closes) out += "connection: close\r\n\r\n";
  else if (oldKeepAlive) out += "connection: keep-alive\r\n\r\n";
  else out += "\r\n";
  return out;
}
