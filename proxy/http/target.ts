/** Request targets and authorities: reads them strictly, and normalises the path that routing and access rules match on. */

/** What {@link readTarget} fills in; a `RequestHead` has these fields. */
export interface TargetParts {
  /** Origin form, exactly as received. */
  target: string;
  /** Normalised, without the query. */
  path: string;
  /** With the `?`, or empty. */
  query: string;
}

/** What {@link readAuthority} fills in; a `RequestHead` has these fields. */
export interface AuthorityParts {
  /** Host and port as received, lower case. */
  authority: string;
  /** Host alone, lower case, no trailing dot; an IPv6 address keeps its brackets. */
  host: string;
}

/** Longest host name: RFC 1035 section 2.3.4. It also bounds the walk over wildcard suffixes. */
const HOST_MAX = 255;

const SLASH = 47;
const DOT = 46;
const PERCENT = 37;
const QUESTION = 63;

/**
 * Splits and normalises an origin-form target (RFC 9112 section 3.2.1).
 * The path gets: unreserved characters percent-decoded, other escapes upper-cased, repeated slashes merged, dot
 * segments removed (RFC 3986 section 6.2.2). A clean path costs one scan and no copy beyond its slice.
 * @returns null, or why the target is refused (400): what two readers could read differently never gets through
 */
export function readTarget(into: TargetParts, target: string): string | null {
  const length = target.length;
  if (length === 0 || target.charCodeAt(0) !== SLASH)
    return "the request target is not an absolute path";
  let clean = true;
  let previous = 0;
  let end = 0;
  for (; end < length; end++) {
    const c = target.charCodeAt(end);
    // the order of these tests is the order of how often they hold
    if (c > 64 && c < 123 && c !== 92) {
      previous = c;
      continue;
    }
    if (c === QUESTION) break;
    if (c === SLASH) {
      if (previous === SLASH) clean = false;
    } else if (c === DOT) {
      if (previous === SLASH) clean = false;
    } else if (c === PERCENT) clean = false;
    else if (c === 92) return "the path has a backslash";
    else if (c === 35) return "the request target has a fragment";
    else if (c < 33 || c === 127) return "the path has a control character or a space";
    previous = c;
  }
  let path = end === length ? target : target.slice(0, end);
  if (!clean) {
    const normal = normalisePath(path);
    if (typeof normal !== "string") return normal.refused;
    path = normal;
  }
  if (end < length) {
    for (let i = end + 1; i < length; i++) {
      const c = target.charCodeAt(i);
      if (c < 33 || c === 127) return "the query has a control character or a space";
      if (c === 35) return "the request target has a fragment";
    }
    into.query = target.slice(end);
  } else into.query = "";
  into.target = target;
  into.path = path;
  return null;
}

/** A path that must not be served, with the reason as a sentence. */
export interface RefusedPath {
  readonly refused: string;
}

/** Normalises a path that starts with a slash and has no query; see {@link readTarget}. Doing it twice changes nothing. */
export function normalisePath(path: string): string | RefusedPath {
  const decoded = path.includes("%") ? decodeUnreserved(path) : path;
  if (typeof decoded !== "string") return decoded;
  if (!decoded.includes("//") && !decoded.includes("/.")) return decoded;
  return removeDots(decoded);
}

/** Decodes escapes of unreserved characters (RFC 3986 section 2.3), refuses those that hide structure. */
function decodeUnreserved(path: string): string | RefusedPath {
  let out = "";
  let from = 0;
  for (let i = path.indexOf("%"); i !== -1; i = path.indexOf("%", i + 3)) {
    const high = hexValue(path.charCodeAt(i + 1));
    const low = hexValue(path.charCodeAt(i + 2));
    if (high < 0 || low < 0)
      return { refused: "the path has a percent sign that starts no escape" };
    const c = high * 16 + low;
    // an encoded slash or backslash is a separator to some readers and data to others; NUL ends the path for some
    if (c === 0x2f || c === 0x5c || c === 0) {
      return {
        refused: `the path has an encoded ${c === 0x2f ? "slash" : c === 0 ? "NUL" : "backslash"}`,
      };
    }
    if (isUnreserved(c)) out += path.slice(from, i) + String.fromCharCode(c);
    else if (isLowerHex(path.charCodeAt(i + 1)) || isLowerHex(path.charCodeAt(i + 2))) {
      out += path.slice(from, i) + path.slice(i, i + 3).toUpperCase();
    } else continue;
    from = i + 3;
  }
  return from === 0 ? path : out + path.slice(from);
}

/** Merges slashes and removes dot segments (RFC 3986 section 5.2.4). */
function removeDots(path: string): string | RefusedPath {
  const kept: string[] = [];
  // per kept segment: an empty one stood before it
  const afterEmpty: boolean[] = [];
  let empty = false;
  const segments = path.split("/");
  const last = segments.length - 1;
  for (let i = 1; i <= last; i++) {
    const segment = segments[i]!;
    if (segment === "") {
      if (i === last) kept.push("");
      else empty = true;
    } else if (segment === "..") {
      // `/a//../b` is `/b` to who merges slashes first and `/a/b` to who removes dot segments first
      if (empty) return { refused: "the path has a dot segment that follows a double slash" };
      kept.pop();
      empty = afterEmpty.pop() ?? false;
      if (i === last) kept.push("");
    } else if (segment === ".") {
      if (i === last) kept.push("");
    } else if (hidesDots(segment)) {
      return { refused: "the path has a dot segment with a parameter" };
    } else {
      kept.push(segment);
      afterEmpty.push(empty);
      empty = false;
    }
  }
  return "/" + kept.join("/");
}

/** `..;x` is a dot segment to servers that cut path parameters (Tomcat, Jetty) and a name to the others. */
function hidesDots(segment: string): boolean {
  return /^\.\.?(;|%3B)/.test(segment);
}

function isUnreserved(c: number): boolean {
  return (
    (c > 64 && c < 91) ||
    (c > 96 && c < 123) ||
    (c > 47 && c < 58) ||
    c === 45 ||
    c === 46 ||
    c === 95 ||
    c === 126
  );
}

function isLowerHex(c: number): boolean {
  return c > 96 && c < 103;
}

function hexValue(c: number): number {
  if (c > 47 && c < 58) return c - 48;
  if (c > 64 && c < 71) return c - 55;
  if (c > 96 && c < 103) return c - 87;
  return -1;
}

/** An absolute-form target (RFC 9112 section 3.2.2), taken apart. */
export interface AbsoluteTarget {
  readonly scheme: "http" | "https";
  readonly authority: string;
  /** Origin form; an empty path becomes `/`. */
  readonly target: string;
}

/** Takes an absolute-form target apart; null when it is not one that a proxy can serve. */
export function splitAbsolute(target: string): AbsoluteTarget | null {
  const match = /^(https?):\/\/([^/?#]+)(.*)$/is.exec(target);
  if (match === null) return null;
  const rest = match[3]!;
  return {
    scheme: match[1]!.toLowerCase() as "http" | "https",
    authority: match[2]!,
    target: rest.startsWith("/") ? rest : `/${rest}`,
  };
}

/**
 * Reads a Host field or the authority of a target (RFC 9110 section 7.2). An empty value is an empty host.
 * @returns null, or why it is refused (400)
 */
export function readAuthority(into: AuthorityParts, value: string): string | null {
  const length = value.length;
  if (length > HOST_MAX + 6) return "the host is longer than 255 characters";
  let upper = false;
  let end = 0;
  if (length > 0 && value.charCodeAt(0) === 91) {
    end = value.indexOf("]") + 1;
    if (end === 0 || !/^\[[0-9A-Fa-f:.]+\]$/.test(value.slice(0, end)))
      return "the host is not an address in brackets";
    upper = /[A-F]/.test(value);
  } else {
    for (; end < length; end++) {
      const c = value.charCodeAt(end);
      if (
        (c > 96 && c < 123) ||
        (c > 47 && c < 58) ||
        c === DOT ||
        c === 45 ||
        c === 95 ||
        c === 126
      )
        continue;
      if (c > 64 && c < 91) upper = true;
      else if (c === 58) break;
      else return "the host has a character that no host name has";
    }
  }
  if (end < length && !isPort(value, end))
    return "the port of the host is not a number up to 65535";
  if (end === 0 && length > 0) return "the host is empty before its port";
  const lower = upper ? value.toLowerCase() : value;
  let hostEnd = end;
  if (hostEnd > 1 && lower.charCodeAt(hostEnd - 1) === DOT) hostEnd--;
  if (hostEnd > HOST_MAX) return "the host is longer than 255 characters";
  into.authority = lower;
  into.host = hostEnd === length ? lower : lower.slice(0, hostEnd);
  return null;
}

/** `:digits`, or a lone colon (RFC 3986 section 3.2.3 allows an empty port), from `start` to the end. */
function isPort(value: string, start: number): boolean {
  if (value.charCodeAt(start) !== 58 || value.length - start > 6) return false;
  let port = 0;
  for (let i = start + 1; i < value.length; i++) {
    const c = value.charCodeAt(i);
    if (c < 48 || c > 57) return false;
    port = port * 10 + c - 48;
  }
  return port <= 65535;
}

/**
 * The first value of a query parameter, percent-decoded, `+` read as a space; undefined when absent.
 * @param query with or without its `?`
 */
export function queryValue(query: string, name: string): string | undefined {
  const { length } = query;
  let start = query.charCodeAt(0) === QUESTION ? 1 : 0;
  while (start < length) {
    // one walk over each pair: a search for `=` could run to the end of the query, once per pair
    let equals = -1;
    let isPlain = true;
    let end = start;
    for (; end < length; end++) {
      const c = query.charCodeAt(end);
      if (c === 38) break;
      if (equals !== -1) continue;
      if (c === 61) equals = end;
      else if (c === PERCENT || c === 43) isPlain = false;
    }
    const nameEnd = equals === -1 ? end : equals;
    const isIt = isPlain
      ? nameEnd - start === name.length && query.startsWith(name, start)
      : decodeQuery(query.slice(start, nameEnd)) === name;
    if (isIt) return equals === -1 ? "" : decodeQuery(query.slice(equals + 1, end));
    start = end + 1;
  }
  return undefined;
}

function decodeQuery(text: string): string {
  if (!text.includes("%") && !text.includes("+")) return text;
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    // not UTF-8 or not an escape: taken as it stands
    return text;
  }
}
