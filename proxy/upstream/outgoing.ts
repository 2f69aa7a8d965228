/** What goes upstream besides the caller's own fields: target, Host, forwarding, identity and deadline fields. */

import type { Exchange } from "../exchange.ts";
import { Kind } from "../http/fields.ts";
import { GrpcWebCaller } from "../http/grpc-web.ts";
import { traceparentFromB3 } from "../http/b3.ts";
import { changeTarget } from "../route/rewrite.ts";
import { hopByHop } from "../http1/serialise.ts";
import { hasKind, type OutgoingHead } from "./forward.ts";
import { formatGrpcTimeout, parseGrpcTimeout, parseTimeoutMs } from "../../policies/timeout.ts";

/** Per drop table of a trust: the same with hop-by-hop fields, and with those that are written anew. */
const dropTables = new Map<Uint8Array, Uint8Array>();

function dropTable(trustDrop: Uint8Array): Uint8Array {
  let table = dropTables.get(trustDrop);
  if (table === undefined) {
    table = hopByHop.map((drop, kind) => drop | (trustDrop[kind] ?? 0));
    table[Kind.host] = table[Kind.deadline] = table[Kind.grpcTimeout] = table[Kind.requestId] = 1;
    dropTables.set(trustDrop, table);
  }
  return table;
}

/** Null: the rewritten path would leave the route's replacement; answer 400. */
export function outgoingHead(x: Exchange): OutgoingHead | null {
  const { req, env, route } = x;
  const fields = req.headers;
  let target = req.target;
  // HTTP/1.0 callers may leave it out; endpoints may not be asked without
  let authority = req.authority === "" ? (x.serviceName ?? "") : req.authority;
  const rewrite = route?.rewrite ?? null;
  if (rewrite !== null) {
    if (rewrite.host !== null) authority = rewrite.host;
    if (rewrite.path !== null || rewrite.prefix !== null) {
      const changed = changeTarget(rewrite, x);
      if (changed === null) return null;
      target = changed;
    }
  }
  // a caller's id that is kept has become x.id, so that it is written once here in either case
  let extra = `x-request-id: ${x.id}\r\n`;
  if (!hasKind(fields, Kind.traceparent)) {
    const parent = hasKind(fields, Kind.b3) ? traceparentFromB3(fields) : null;
    extra += `traceparent: ${parent ?? `00-${traceIdOf(x)}-${env.newId().slice(16)}-00`}\r\n`;
  }
  if (te(x) || x.downstream instanceof GrpcWebCaller) extra += "te: trailers\r\n";
  if ((x.deadlineMs > 0 || x.timeoutMs > 0) && x.isTrusted) extra += deadlineLines(x);
  // the built-in authn plugins have written it themselves
  if (x.consumer !== null && !fields.isReplaced("x-weft-consumer"))
    extra += `x-weft-consumer: ${safeValue(x.consumer.name)}\r\n`;
  extra += `${x.trust.lines(req, x.conn)}via: 1.1 weft\r\n`;
  return { target, authority, drop: dropTable(x.trust.drop), extra };
}

/** Ids of ours are trace ids; one that a caller or a plugin chose need not be. */
function traceIdOf(x: Exchange): string {
  return x.id === x.ownId || /^(?!0{32})[0-9a-f]{32}$/.test(x.id) ? x.id : x.ownId;
}

/** RFC 9110 section 10.1.4: of TE, only `trailers` means anything beyond this hop. */
function te(x: Exchange): boolean {
  const fields = x.req.headers;
  for (let i = 0; i < fields.count; i++)
    if (fields.kinds[i] === Kind.te) return /(^|,)\s*trailers\s*(,|$|;)/i.test(fields.valueAt(i));
  return false;
}

/** Field values are latin1 without control characters; anything else in a name of ours is shown as `?`. */
export function safeValue(text: string): string {
  return text.replace(/[^\x20-\x7e\u00a0-\u00ff]/g, "?");
}

/** What is left, in each dialect that the caller used, and in ours. */
function deadlineLines(x: Exchange): string {
  const nowMs = x.env.now();
  // the time for an answer runs from the end of the request, which may be still to come
  let left = x.deadlineMs > 0 ? x.deadlineMs - nowMs : x.timeoutMs;
  if (x.callDeadlineMs > 0) left = Math.min(left, x.callDeadlineMs - nowMs);
  const leftMs = Math.max(1, Math.floor(left));
  const { headers } = x.req;
  let out = `x-request-timeout-ms: ${leftMs}\r\n`;
  if (headers.has("x-envoy-expected-rq-timeout-ms"))
    out += `x-envoy-expected-rq-timeout-ms: ${leftMs}\r\n`;
  if (hasKind(headers, Kind.grpcTimeout)) out += `grpc-timeout: ${formatGrpcTimeout(leftMs)}\r\n`;
  return out;
}

/** What a gRPC caller allows for a whole call, in ms; 0: nothing that is valid. */
export function callTimeoutMs(x: Exchange): number {
  const fields = x.req.headers;
  for (let i = 0; i < fields.count; i++)
    if (fields.kinds[i] === Kind.grpcTimeout) return parseGrpcTimeout(fields.valueAt(i)) ?? 0;
  return 0;
}

/** The shortest time that a caller allows, in ms; 0: it names none that is valid. */
export function callerTimeoutMs(x: Exchange): number {
  const fields = x.req.headers;
  let shortest = 0;
  for (let i = 0; i < fields.count; i++) {
    const kind = fields.kinds[i];
    if (kind !== Kind.deadline && kind !== Kind.grpcTimeout) continue;
    const ms =
      kind === Kind.deadline
        ? parseTimeoutMs(fields.valueAt(i))
        : parseGrpcTimeout(fields.valueAt(i));
    if (ms !== null && ms > 0 && (shortest === 0 || ms < shortest)) shortest = ms;
  }
  return shortest;
}
