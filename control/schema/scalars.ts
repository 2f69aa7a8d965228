/** The kinds of single values that a configuration is written in: durations, sizes, rates, addresses, names, patterns. */

import { isIP } from "node:net";
import { z } from "zod";
import { parseQuota, type Quota } from "../../plugins/quota-period.ts";
import { didYouMean, nearest } from "../suggest.ts";
import {
  longestMs,
  parseDuration,
  parseRate,
  parseSize,
  suggestDuration,
  suggestRate,
  suggestSize,
} from "../units.ts";
import { regexFault, templateFault } from "./patterns.ts";
import type { Rate } from "../config.ts";

/** What a schema's own issues carry besides the message. */
export interface IssueParams {
  readonly expected?: string;
  readonly suggestion?: string | null;
  /** What a plugin's own option should have been: the suggestion is made from what stands there. */
  readonly unit?: "duration" | "size" | "rate";
  readonly at?: "key" | "value";
  /** Something that should be there is not. */
  readonly missing?: boolean;
}

/** Adds a problem at the value under test, or at `path` below it. The message is a sentence without the place. */
export function refuse(
  ctx: z.core.$RefinementCtx,
  message: string,
  params: IssueParams,
  path: (string | number)[] = [],
): never {
  ctx.addIssue({
    code: "custom",
    message,
    params: params as Record<string, unknown>,
    path,
    input: undefined,
  });
  return z.NEVER;
}

/** How a value reads in a message: short, quoted when it is a text. */
export function show(value: unknown): string {
  if (value === null) return "nothing";
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : "a list";
  if (typeof value === "object")
    return Object.keys(value).length === 0 ? "an empty mapping" : "a mapping";
  const text = typeof value === "string" ? JSON.stringify(value) : String(value);
  return text.length > 60 ? `${text.slice(0, 60)}...` : text;
}

/** A text that a function understands or not. The JSON Schema gets `pattern`. */
function parsed<T>(
  expected: string,
  pattern: string,
  read: (text: string, ctx: z.core.$RefinementCtx<string>) => T,
) {
  return z.string({ error: expected }).transform(read).meta({ pattern, weftExpected: expected });
}

const durationExpected = "a duration such as 250ms, 5s, 1m or 24h";
const durationPattern = "^(0|(\\d+(\\.\\d+)?(ms|s|m|h|d))+)$";

/** Milliseconds. A bare number other than 0 is refused: nobody knows its unit. */
export function duration(options: { readonly minMs?: number; readonly maxMs?: number } = {}) {
  const minMs = options.minMs ?? 0;
  const maxMs = options.maxMs ?? longestMs;
  return z
    .union([z.string().meta({ pattern: durationPattern }), z.literal(0)], {
      error: durationExpected,
    })
    .transform((value, ctx): number => {
      const text = String(value);
      const ms = parseDuration(text);
      if (ms === null)
        return refuse(ctx, `${show(text)} is not a duration`, {
          expected: durationExpected,
          suggestion: quoteMean(suggestDuration(text)),
        });
      if (ms < minMs)
        return refuse(ctx, `${show(text)} is too short`, { expected: `at least ${minMs} ms` });
      if (ms > maxMs)
        return refuse(ctx, `${show(text)} is too long`, {
          expected: `at most ${Math.floor(maxMs / 3_600_000)}h`,
        });
      return ms;
    })
    .meta({ weftExpected: durationExpected });
}

/** Bytes: with a unit, or a bare number of them. */
export function size(options: { readonly min: number; readonly max: number }) {
  const expected = "a size such as 64KiB or 1MiB";
  const pattern = "^\\d+(\\.\\d+)?(B|KB|MB|GB|KiB|MiB|GiB)?$";
  return z
    .union([z.string().meta({ pattern }), z.int()], { error: expected })
    .transform((value, ctx): number => {
      const text = String(value);
      const bytes = parseSize(text);
      if (bytes === null)
        return refuse(ctx, `${show(value)} is not a size`, {
          expected,
          suggestion: quoteMean(suggestSize(text)),
        });
      if (bytes < options.min || bytes > options.max)
        return refuse(ctx, `${show(value)} is out of range`, {
          expected: `${options.min} to ${options.max} bytes`,
        });
      return bytes;
    })
    .meta({ weftExpected: expected });
}

/** Like `100/min`. */
export function rate() {
  const expected = "a rate such as 100/min (per s, min, h or day)";
  return parsed(expected, "^\\d+/(s|min|h|day)$", (text, ctx): Rate => {
    return (
      parseRate(text) ??
      refuse(ctx, `${show(text)} is not a rate`, {
        expected,
        suggestion: quoteMean(suggestRate(text)),
      })
    );
  });
}

/** Units in each day or calendar month. */
export function quota() {
  const expected = "a quota such as 10000/day or 1000000/month";
  return parsed(expected, "^\\d+\\s*/\\s*(day|month)$", (text, ctx): Quota => {
    return parseQuota(text) ?? refuse(ctx, `${show(text)} is not a quota`, { expected });
  });
}

const suggestUnit = { duration: suggestDuration, size: suggestSize, rate: suggestRate };

/** The spelling that was probably meant, as a question; null when nothing is near. */
export function suggestedUnit(unit: keyof typeof suggestUnit, text: string): string | null {
  return quoteMean(suggestUnit[unit](text));
}

function quoteMean(text: string | null): string | null {
  return text === null ? null : `did you mean "${text}"?`;
}

/** A whole number in a range, both ends included. */
export function whole(min: number, max: number) {
  const expected = `a whole number from ${min} to ${max}`;
  return z.int({ error: expected }).min(min, { error: expected }).max(max, { error: expected });
}

/** A number in a range, both ends included. */
export function number(min: number, max: number) {
  const expected = `a number from ${min} to ${max}`;
  return z.number({ error: expected }).min(min, { error: expected }).max(max, { error: expected });
}

export function flag() {
  return z.boolean({ error: "true or false" });
}

/** Any text that is not empty. */
export function text(expected: string) {
  return z.string({ error: expected }).min(1, { error: expected });
}

/** One of a few words; words of `later` are known and refused as not supported yet. */
export function choice<const Now extends string, const Later extends string = never>(
  now: readonly Now[],
  later: readonly Later[] = [],
) {
  const all: readonly string[] = [...now, ...later];
  const expected = orList(now);
  return z
    .string({ error: expected })
    .transform((value, ctx): Now => {
      const found = now.find((word) => word === value);
      if (found !== undefined) return found;
      if (all.includes(value)) return refuse(ctx, `"${value}" is not supported yet`, { expected });
      return refuse(ctx, `${show(value)} is not known here`, {
        expected,
        suggestion: didYouMean(value, now),
      });
    })
    .meta({
      enum: [...all],
      weftExpected: expected,
      ...(later.length === 0 ? {} : { weftLater: [...later] }),
    });
}

/** A key that the contract names and that is not built yet: known to the schema and its documentation, refused when used. */
export function notYet<S extends z.ZodType>(
  schema: S,
): z.ZodOptional<z.ZodType<never, z.input<S>>> {
  const refused = z.unknown().transform((_, ctx): never => refuse(ctx, "not supported yet", {}));
  return (refused as unknown as z.ZodType<never, z.input<S>>)
    .meta({ weftNotYet: schema })
    .optional();
}

export interface Address {
  readonly text: string;
  readonly host: string;
  readonly port: number;
}

/** `host:port`, `10.0.0.7:80`, `[::1]:80`. Null when it is not. Port 0 is left to the caller. */
export function parseAddress(value: string): Address | null {
  const match = /^(?:\[([0-9a-fA-F:.%\w]+)\]|([^\s:/[\]@?#]+)):(\d{1,5})$/.exec(value);
  if (match === null) return null;
  const port = Number(match[3]);
  if (port > 65535) return null;
  if (match[1] !== undefined)
    return isIP(match[1]) === 6 ? { text: value, host: match[1], port } : null;
  const host = match[2] ?? "";
  if (/^[\d.]+$/.test(host) ? isIP(host) !== 4 : !isHostName(host)) return null;
  return { text: value, host, port };
}

/** A DNS name by RFC 1123, underscores allowed as they are in the wild. */
export function isHostName(name: string): boolean {
  return (
    name.length <= 253 &&
    name
      .split(".")
      .every((label) => /^[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/.test(label))
  );
}

/** An address that is connected to: its port is from 1. */
export function address() {
  return addressOf(1);
}

/** An address that is listened on: port 0 takes a free one. */
export function listenAddress() {
  return addressOf(0);
}

function addressOf(lowestPort: 0 | 1) {
  const expected = "an address such as 127.0.0.1:3000, orders.internal:80 or [::1]:3000";
  return parsed(expected, "^(\\[[0-9a-fA-F:.]+\\]|[^\\s:/]+):\\d{1,5}$", (value, ctx): Address => {
    const found = parseAddress(value);
    if (found !== null && found.port >= lowestPort) return found;
    const bare = value.replace(/^[a-z]+:\/\//, "").replace(/\/.*$/, "");
    const suggestion =
      bare !== value && parseAddress(bare) !== null ? `did you mean "${bare}"?` : null;
    return refuse(ctx, `${show(value)} is not an address`, {
      expected: `${expected}, with a port from ${lowestPort} to 65535`,
      suggestion,
    });
  });
}

/** The name of a service, route, listener, policy, consumer or plan. */
export function name(what: string) {
  const expected = `${what}: letters, digits, "-", "_" and ".", at most 100`;
  return z
    .string({ error: expected })
    .regex(/^[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9_])?$/, { error: expected });
}

/** An exact host or `*.suffix`, lower-cased, without a port. */
export function hostPattern() {
  const expected = "a host such as api.example.com, or *.example.com";
  return parsed(expected, "^(\\*\\.)?[A-Za-z0-9_.-]+$", (value, ctx): string => {
    const plain = value.startsWith("*.") ? value.slice(2) : value;
    if (isIP(plain) === 4 || (isHostName(plain) && !/^[\d.]+$/.test(plain)))
      return value.toLowerCase();
    if (/^\[[0-9a-fA-F:.]+\]$/.test(value) && isIP(value.slice(1, -1)) === 6)
      return value.toLowerCase();
    const suggestion = value === "*" ? 'leave "hosts" out to take every host' : hostHint(plain);
    return refuse(ctx, `${show(value)} is not a host`, { expected, suggestion });
  });
}

function hostHint(value: string): string | null {
  const bare = value
    .replace(/^[a-z]+:\/\//i, "")
    .replace(/[:/].*$/, "")
    .replace(/\.$/, "");
  return bare !== value && isHostName(bare)
    ? `did you mean "${bare}"? A host has no scheme, port or path`
    : null;
}

/** A Host to send: a name or address, with a port or without. */
export function authority() {
  const expected = "a host such as orders.internal or orders.internal:8080";
  return parsed(expected, "^[^\\s/?#@]+$", (value, ctx): string => {
    const host = value.replace(/:\d{1,5}$/, "");
    if (parseAddress(`${host}:1`) !== null && (host === value || parseAddress(value) !== null))
      return value;
    return refuse(ctx, `${show(value)} is not a host`, { expected, suggestion: hostHint(value) });
  });
}

/** A path or path prefix to match or to write: begins with a slash, and holds no query and no control character. */
export function path() {
  const expected = 'a path that begins with "/"';
  return parsed(expected, "^/[^\\s?#]*$", (value, ctx): string => {
    if (/\/\.{1,2}(?:\/|$)/.test(value))
      return refuse(ctx, `${show(value)} holds a dot segment`, {
        expected: "a normalised path: requests are matched without . and .. in them",
      });
    if (/^\/[^\s?#\p{Cc}]*$/u.test(value)) return value;
    const suggestion = /^[^/\s?#][^\s?#]*$/.test(value) ? `did you mean "/${value}"?` : null;
    return refuse(ctx, `${show(value)} is not a path`, {
      expected: `${expected} and holds no "?", "#" or space`,
      suggestion,
    });
  });
}

/** A regular expression in RE2's syntax (no backtracking, so no look-around and no back-references). */
export function regex() {
  const expected = "a regular expression in RE2's syntax";
  return parsed(expected, "", (value, ctx): string => {
    const fault = regexFault(value);
    return fault === null ? value : refuse(ctx, fault, { expected });
  });
}

/** `/orders/{id}`: each `{x}` is one whole, non-empty element of the path. */
export function template() {
  const expected = "a path template such as /orders/{id}";
  return parsed(expected, "^/", (value, ctx): string => {
    const fault = templateFault(value);
    return fault === null ? value : refuse(ctx, fault, { expected });
  });
}

/** A method as it is sent, e.g. `GET`. */
export function method() {
  const expected = "a method in capitals, such as GET";
  return parsed(expected, "^[A-Z][A-Z0-9_-]*$", (value, ctx): string => {
    if (/^[A-Z][A-Z0-9_-]{0,31}$/.test(value)) return value;
    const known = nearest(value.toUpperCase(), [
      "GET",
      "HEAD",
      "POST",
      "PUT",
      "PATCH",
      "DELETE",
      "OPTIONS",
      "QUERY",
      "TRACE",
      "CONNECT",
    ]);
    return refuse(ctx, `${show(value)} is not a method`, {
      expected,
      suggestion: quoteMean(known),
    });
  });
}

/** A field name (RFC 9110 section 5.1), lower-cased by whoever compares it. */
export function isFieldName(value: string): boolean {
  return /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,200}$/.test(value);
}

/** A field value (RFC 9110 section 5.5) without control characters; a line break in it would be a second header. */
export function isFieldValue(value: string): boolean {
  return /^[\t\x20-\x7e\x80-\xff]*$/.test(value);
}

/** `"a", "b" or "c"` */
export function orList(words: readonly string[]): string {
  const quoted = words.map((word) => `"${word}"`);
  return quoted.length < 2
    ? (quoted[0] ?? "")
    : `${quoted.slice(0, -1).join(", ")} or ${quoted.at(-1)}`;
}
