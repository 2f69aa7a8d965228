/** Errors and plugin replies as answers: problem documents, HTML for browsers, trailers-only for gRPC (CONTRACT section 4). */

import { catalogue, type ErrorCode, type ProxyError } from "../errors.ts";
import type { Reply } from "../pipeline/plugin.ts";
import { type RequestHead, ResponseHead } from "./head.ts";

/** Where each code is explained. */
export const errorDocs = "https://weft.dev/docs/errors#";

/** An answer of weft's own, ready to be sent. */
export interface OwnAnswer {
  readonly head: ResponseHead;
  readonly body: Buffer;
  readonly code: ErrorCode | null;
}

/** The cause, as it is shown: who asked decides about the form. */
interface Cause {
  readonly code: ErrorCode;
  readonly status: number;
  readonly detail: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly members: Readonly<Record<string, unknown>> | null;
}

/** The answer to an error. @param id the request id, `instance` of the problem */
export function answerToError(
  error: ProxyError,
  req: RequestHead,
  id: string,
  headers: readonly (readonly [string, string])[] = [],
): OwnAnswer {
  return answer(
    { code: error.code, status: error.status, detail: error.message, headers, members: null },
    req,
    id,
  );
}

/** The answer that a plugin made. */
export function answerToReply(reply: Reply, req: RequestHead, id: string): OwnAnswer {
  if (reply.code !== null) {
    return answer(
      {
        code: reply.code,
        status: reply.status,
        detail: reply.detail,
        headers: reply.headers,
        members: reply.members,
      },
      req,
      id,
    );
  }
  const body =
    reply.body === null
      ? EMPTY
      : typeof reply.body === "string"
        ? Buffer.from(reply.body)
        : Buffer.from(reply.body);
  const head = ownHead(reply.status, body, "reply");
  for (const [name, value] of reply.headers) setSafely(head, name, value);
  return { head, body, code: null };
}

/** A head for a body of ours; Content-Length is left out where none may stand. */
export function ownHead(
  status: number,
  body: Buffer,
  source: ResponseHead["source"],
): ResponseHead {
  const head = new ResponseHead();
  head.status = status;
  head.source = source;
  const bodyless = status === 204 || status === 304 || status < 200;
  head.framing = bodyless ? "none" : "length";
  head.contentLength = bodyless ? -1 : body.length;
  head.headers.append("date", httpDate());
  return head;
}

const EMPTY = Buffer.alloc(0);

function answer(cause: Cause, req: RequestHead, id: string): OwnAnswer {
  const { code, status, detail } = cause;
  const entry = catalogue[code];
  if (req.isGrpc) return grpcAnswer(cause, entry.grpc, grpcType(req));
  const html = wantsHtml(req);
  const text = html
    ? page(status, entry.title, detail, code, id)
    : JSON.stringify({
        type: errorDocs + code,
        title: entry.title,
        status,
        detail,
        instance: id,
        code,
        ...cause.members,
      });
  const body = Buffer.from(text);
  const head = ownHead(status, body, "error");
  head.headers.append(
    "content-type",
    html ? "text/html; charset=utf-8" : "application/problem+json",
  );
  if (html)
    head.headers.append("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'");
  head.headers.append("proxy-status", proxyStatus(code, detail));
  head.headers.append("cache-control", "no-store");
  head.headers.append("x-request-id", id);
  // who refuses says better ones below; these are for a plugin's bare reply(401) or reply(429)
  if (status === 503 || status === 429) head.headers.append("retry-after", "1");
  if (status === 401) head.headers.append("www-authenticate", 'Custom realm="weft"');
  for (const [name, value] of cause.headers) setSafely(head, name, value);
  return { head, body, code };
}

/** Trailers of a gRPC answer that ends with an error of ours. */
export function grpcLines(status: number, detail: string): string {
  return `grpc-status: ${status}\r\ngrpc-message: ${encodeURIComponent(detail)}\r\n`;
}

/** gRPC-Web callers read their own type alone. */
function grpcType(req: RequestHead): string {
  const type = req.headers.get("content-type")!;
  return /^application\/grpc-web[\w+.-]*/.exec(type)?.[0] ?? "application/grpc";
}

function grpcAnswer(cause: Cause, status: number, type: string): OwnAnswer {
  const head = ownHead(200, EMPTY, "error");
  head.headers.append("content-type", type);
  head.headers.append("grpc-status", String(status));
  head.headers.append("grpc-message", encodeURIComponent(cause.detail));
  head.headers.append("proxy-status", proxyStatus(cause.code, cause.detail));
  for (const [name, value] of cause.headers) setSafely(head, name, value);
  return { head, body: EMPTY, code: cause.code };
}

/** RFC 9209; `details` is a structured-field string: printable ASCII. */
function proxyStatus(code: ErrorCode, detail: string): string {
  const safe = detail.replace(/[^\x20-\x7e]/g, "?").replace(/["\\]/g, "\\$&");
  return `weft; error=${catalogue[code].proxyStatus}; details="${code}: ${safe}"`;
}

function setSafely(head: ResponseHead, name: string, value: string): void {
  try {
    if (name.toLowerCase() === "set-cookie") head.headers.append(name, value);
    else head.headers.set(name, value);
  } catch {
    // a framing field or a value that cannot be sent: framing is weft's, and half an answer helps nobody
  }
}

/** A browser names text/html itself; `*` + `/*` alone is a program. */
function wantsHtml(req: RequestHead): boolean {
  const accept = req.headers.get("accept");
  return (
    accept !== undefined &&
    accept.includes("text/html") &&
    !/(^|,)\s*application\/(problem\+)?json\s*($|,)/.test(accept)
  );
}

const escapes: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (c) => escapes[c]!);
}

function page(status: number, title: string, detail: string, code: string, id: string): string {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${status} ${escapeHtml(title)}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:36rem;margin:15vh auto;padding:0 1rem;color:#222;background:#fff}h1{font-size:1.5rem}code{color:#666}@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}code{color:#999}}</style>
<h1>${status} ${escapeHtml(title)}</h1><p>${escapeHtml(detail)}</p><p><code>${code} &middot; request ${escapeHtml(id)}</code></p></html>
`;
}

let dateText = "";
let dateSecond = -1;

/** IMF-fixdate of now, made once a second. */
export function httpDate(): string {
  const second = Math.floor(Date.now() / 1000);
  if (second !== dateSecond) {
    dateSecond = second;
    dateText = new Date(second * 1000).toUTCString();
  }
  return dateText;
}
