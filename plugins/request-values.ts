/** Queries, fields and cookies as values that a schema can be asked about. */

import type { Parameter } from "./openapi.ts";
import type { RequestHead } from "../proxy/pipeline/plugin.ts";

export type Values = Record<string, unknown>;

/** A name that comes twice becomes a list. @param text with its question mark, or empty */
export function queryValues(text: string): Values {
  const values = blank();
  for (const [name, value] of new URLSearchParams(text.startsWith("?") ? text.slice(1) : text))
    append(values, name, value);
  return values;
}

/** Names in lower case. */
export function headerValues(req: RequestHead): Values {
  const values = blank();
  for (const [name] of req.headers) values[name.toLowerCase()] ??= req.headers.get(name);
  return values;
}

export function cookieValues(req: RequestHead): Values {
  const values = blank();
  for (const pair of (req.headers.get("cookie") ?? "").split(";")) {
    const at = pair.indexOf("=");
    if (at > 0) append(values, pair.slice(0, at).trim(), pair.slice(at + 1).trim());
  }
  return values;
}

/** Lists and objects out of texts, as the parameters' styles have them. */
export function applyStyles(values: Values, parameters: readonly Parameter[]): void {
  for (const { name, style, isExploded, shape, in: place } of parameters) {
    const key = place === "header" ? name.toLowerCase() : name;
    if (style === "deepObject") gather(values, key);
    const value = values[key];
    if (shape !== "list" || typeof value !== "string") continue;
    if (isExploded && place !== "header" && place !== "path") values[key] = [value];
    else {
      const separator = style === "pipeDelimited" ? "|" : style === "spaceDelimited" ? " " : ",";
      values[key] = value === "" ? [] : value.split(separator).map((item) => item.trim());
    }
  }
}

/** `filter[a]=1` is `{ filter: { a: 1 } }`. */
function gather(values: Values, name: string): void {
  for (const key of Object.keys(values)) {
    if (!key.startsWith(`${name}[`) || !key.endsWith("]")) continue;
    const inner = (values[name] ??= blank());
    if (typeof inner !== "object" || inner === null) continue;
    (inner as Values)[key.slice(name.length + 1, -1)] = values[key];
  }
}

function append(values: Values, name: string, value: string): void {
  const before = values[name];
  if (before === undefined) values[name] = value;
  else if (Array.isArray(before)) before.push(value);
  else values[name] = [before, value];
}

function blank(): Values {
  return Object.create(null) as Values;
}

/** True for JSON and the types that are built on it. */
export function isJson(mediaType: string): boolean {
  return mediaType === "application/json" || mediaType.endsWith("+json");
}

/** In lower case, without parameters; empty: none is given. */
export function mediaTypeOf(req: RequestHead): string {
  return (req.headers.get("content-type") ?? "").split(";")[0]!.trim().toLowerCase();
}
