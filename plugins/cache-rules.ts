/** What RFC 9111 says of heads: what may be kept, for how long it is fresh, and how it may be used. */

import type { Fields } from "../proxy/pipeline/plugin.ts";

/** Directives of a Cache-Control field; names in lower case, a missing argument is empty. */
export type Directives = ReadonlyMap<string, string>;

const none: Directives = new Map();

/** Of a directive that comes twice the stricter number counts, else the first. */
export function readDirectives(text: string | undefined): Directives {
  if (text === undefined) return none;
  const all = new Map<string, string>();
  for (const [, name, quoted, token] of text.matchAll(
    /([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:="((?:[^"\\]|\\.)*)"|=([^\s,;"]*))?[^,"]*(?:,|$)/g,
  )) {
    const key = name!.toLowerCase();
    const value = quoted ?? token ?? "";
    const before = all.get(key);
    if (before === undefined || Number(value) < Number(before)) all.set(key, value);
  }
  return all;
}

/** Milliseconds of a directive; undefined: not there; 0: there, and not a number. */
export function directiveMs(directives: Directives, name: string): number | undefined {
  const text = directives.get(name);
  if (text === undefined) return undefined;
  return /^\d+$/.test(text) ? Math.min(Number(text), 2 ** 31) * 1000 : 0;
}

/** Of a head that may be kept. Times in milliseconds. */
export interface Terms {
  /** From the moment the answer was made. */
  readonly freshMs: number;
  /** Its age when it arrived. */
  readonly ageMs: number;
  readonly staleWhileRevalidateMs: number;
  readonly staleIfErrorMs: number;
  /** Asked about before every use. */
  readonly mustAsk: boolean;
  /** Never used stale. */
  readonly mustRevalidate: boolean;
  readonly hasValidator: boolean;
}

/** Statuses kept by `ttl` alone (RFC 9110 section 15.1); with an explicit lifetime any final one but 206 and 304. */
const byDefault = new Set([200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501]);

export interface Arrival {
  readonly status: number;
  readonly headers: Fields;
  readonly requestHeaders: Fields;
  /** Milliseconds since 1970. */
  readonly wallMs: number;
  /** How long it took to come. */
  readonly delayMs: number;
  /** Option `ttl`; null: none. */
  readonly ttlMs: number | null;
  /** Somebody proved who they are. */
  readonly isPersonal: boolean;
}

/** Null: it must not be kept, or keeping it is of no use. */
export function termsOf(arrival: Arrival): Terms | null {
  const { status, headers, requestHeaders, wallMs } = arrival;
  if (status < 200 || status === 206 || status === 304) return null;
  const said = readDirectives(headers.get("cache-control"));
  if (said.has("no-store") || said.has("private")) return null;
  if (readDirectives(requestHeaders.get("cache-control")).has("no-store")) return null;
  if (said.has("must-understand") && !byDefault.has(status)) return null;
  if (headers.has("set-cookie") || headers.get("vary")?.includes("*") === true) return null;
  const isShared = said.has("public") || said.has("s-maxage") || said.has("must-revalidate");
  if ((arrival.isPersonal || requestHeaders.has("authorization")) && !isShared) return null;

  const dateMs = dateOf(headers.get("date")) ?? wallMs;
  const explicit = lifetimeOf(said, headers, dateMs);
  const byTtl = arrival.ttlMs !== null && byDefault.has(status) ? arrival.ttlMs : undefined;
  const freshMs = explicit ?? byTtl;
  const mustAsk = said.has("no-cache") || saysPragma(headers, said);
  const hasValidator = headers.has("etag") || dateOf(headers.get("last-modified")) !== undefined;
  if (freshMs === undefined && !mustAsk) return null;
  const terms = {
    freshMs: freshMs ?? 0,
    ageMs: Math.max(0, wallMs - dateMs, ageOf(headers) + arrival.delayMs),
    staleWhileRevalidateMs: directiveMs(said, "stale-while-revalidate") ?? 0,
    staleIfErrorMs: directiveMs(said, "stale-if-error") ?? 0,
    mustAsk,
    mustRevalidate:
      said.has("must-revalidate") || said.has("proxy-revalidate") || said.has("s-maxage"),
    hasValidator,
  };
  const isOfUse =
    (!mustAsk && terms.freshMs > terms.ageMs) || hasValidator || terms.staleIfErrorMs > 0;
  return isOfUse ? terms : null;
}

function lifetimeOf(said: Directives, headers: Fields, dateMs: number): number | undefined {
  const shared = directiveMs(said, "s-maxage") ?? directiveMs(said, "max-age");
  if (shared !== undefined) return shared;
  const expires = headers.get("expires");
  if (expires === undefined) return undefined;
  // "0" and other nonsense are the past
  return Math.max(0, (dateOf(expires) ?? 0) - dateMs);
}

function saysPragma(headers: Fields, said: Directives): boolean {
  return said.size === 0 && /\bno-cache\b/i.test(headers.get("pragma") ?? "");
}

/** Nonsense makes an answer stale. */
function ageOf(headers: Fields): number {
  const text = headers.get("age");
  if (text === undefined) return 0;
  return (/^\d+$/.test(text) ? Math.min(Number(text), longestSeconds) : longestSeconds) * 1000;
}

const longestSeconds = 2 ** 31;

const imf =
  /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d GMT$/;
const old =
  /^(?:(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, \d\d-[A-Z][a-z]{2}-\d\d \d\d:\d\d:\d\d GMT|[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4})$/;

/** Milliseconds of an HTTP date; undefined: it is none. */
export function dateOf(text: string | undefined): number | undefined {
  if (text === undefined || !(imf.test(text) || old.test(text))) return undefined;
  const [, day, month, year, time] = /, (\d\d)-(\w{3})-(\d\d) (.*)$/.exec(text) ?? [];
  if (year !== undefined) {
    // two digits: not more than 50 years ahead
    const full = 2000 + Number(year);
    const century = full > new Date().getUTCFullYear() + 50 ? full - 100 : full;
    return dateMs(`${day} ${month} ${century} ${time}`);
  }
  return dateMs(text.endsWith("GMT") ? text : `${text} GMT`);
}

function dateMs(text: string): number | undefined {
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? undefined : ms;
}

/** True when the caller has this already: RFC 9110 section 13.2.2. */
export function isNotModified(
  asked: { readonly ifNoneMatch: string | undefined; readonly ifModifiedSince: string | undefined },
  kept: { readonly etag: string | undefined; readonly lastModified: string | undefined },
): boolean {
  const { ifNoneMatch, ifModifiedSince } = asked;
  if (ifNoneMatch !== undefined) {
    if (ifNoneMatch.trim() === "*") return true;
    if (kept.etag === undefined) return false;
    const bare = kept.etag.replace(/^W\//, "");
    return [...ifNoneMatch.matchAll(/(?:W\/)?("[^"]*")/g)].some(([, tag]) => tag === bare);
  }
  const since = dateOf(ifModifiedSince);
  const modified = dateOf(kept.lastModified);
  return since !== undefined && modified !== undefined && modified <= since;
}
