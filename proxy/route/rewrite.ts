/** Applies a route's `rewrite` and `redirect`: new path, same query (Gateway API: URLRewrite and RequestRedirect filters). */

import { normalisePath } from "../http/target.ts";

/** How a path is replaced: `path` as a whole, `prefix` instead of the matched part. One of them, or neither. */
export interface PathChange {
  readonly prefix: string | null;
  readonly path: string | null;
}

/** The request, as far as a change of its path needs it. */
export interface ChangedRequest {
  /** Normalised, no query. */
  readonly path: string;
  /** With the `?`, or empty. */
  readonly query: string;
  /** From the match. */
  readonly matchedPrefix: string;
}

/**
 * The target that goes upstream: replaced path and the query as it came. A slash between replacement and rest is
 * there exactly once, whether or not either brings it: both `/a` and `/a/` for `/x` make `/a/b` of `/x/b`.
 * @returns null when the result would leave the replacement, which only a regex that ends inside an element can
 * bring about (`^/v\d+` on `/v1../admin`): answer 400
 */
export function changeTarget(change: PathChange, request: ChangedRequest): string | null {
  const path = changePath(change, request);
  if (path === null || request.query === "") return path;
  // a replacement may bring parameters of its own
  return path.includes("?") ? `${path}&${request.query.slice(1)}` : path + request.query;
}

function changePath(change: PathChange, request: ChangedRequest): string | null {
  if (change.path !== null) return change.path;
  if (change.prefix === null) return request.path;
  const rest = request.path.slice(request.matchedPrefix === "/" ? 0 : request.matchedPrefix.length);
  const base = change.prefix.endsWith("/") ? change.prefix.slice(0, -1) : change.prefix;
  if (rest === "") return base === "" ? "/" : change.prefix;
  const joined = rest.startsWith("/") ? base + rest : `${base}/${rest}`;
  // a rest that starts at a slash is part of a normalised path, and has nothing left to climb with
  return rest.startsWith("/") || normalisePath(joined) === joined ? joined : null;
}

/** A route's `redirect`; what is null stays as the request had it. */
export interface RedirectChange extends PathChange {
  readonly scheme: "http" | "https" | null;
  readonly host: string | null;
  readonly port: number | null;
}

/** The request, as far as a redirect needs it. */
export interface RedirectedRequest extends ChangedRequest {
  readonly scheme: "http" | "https";
  /** Host and port as received. */
  readonly authority: string;
  readonly host: string;
}

/**
 * The `Location` of a redirect: a path alone when neither scheme nor host nor port changes, so that a proxy that
 * ends TLS in front of us cannot make it wrong. A new scheme without a port takes the scheme's own port; the usual
 * ports are not written out.
 * @returns null as {@link changeTarget} does
 */
export function redirectLocation(
  redirect: RedirectChange,
  request: RedirectedRequest,
): string | null {
  const target = changeTarget(redirect, request);
  if (target === null) return null;
  const { scheme, host, port } = redirect;
  if ((scheme === null && host === null && port === null) || (host === null && request.host === ""))
    return target;
  const newScheme = scheme ?? request.scheme;
  const newPort = port ?? (scheme === null ? portOf(request) : null);
  const usual = newScheme === "https" ? 443 : 80;
  const suffix = newPort === null || newPort === usual ? "" : `:${newPort}`;
  return `${newScheme}://${host ?? request.host}${suffix}${target}`;
}

/** The port in the authority; null when it names none. */
function portOf(request: RedirectedRequest): number | null {
  const colon = request.authority.lastIndexOf(":");
  if (colon === -1 || request.authority.endsWith("]") || colon === request.authority.length - 1)
    return null;
  return Number(request.authority.slice(colon + 1));
}
