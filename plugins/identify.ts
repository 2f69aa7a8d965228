/** Says who a request comes from: to later plugins and to the service. */

import { FieldName, isFieldValue } from "../proxy/http/fields.ts";
import type { Consumer, Ctx, RequestHead } from "../proxy/pipeline/plugin.ts";

const consumerField = new FieldName("x-weft-consumer");
const fieldValues = new WeakMap<Consumer, string>();

/** Sets `ctx.consumer` and the field `x-weft-consumer` of the request that goes to the service. */
export function identify(req: RequestHead, ctx: Ctx, consumer: Consumer): void {
  let value = fieldValues.get(consumer);
  if (value === undefined) fieldValues.set(consumer, (value = toFieldValue(consumer.name)));
  ctx.consumer = consumer;
  req.headers.set(consumerField, value);
}

/** A text as a field value: percent-encoded when it has characters that cannot go on the wire. */
export function toFieldValue(text: string): string {
  if (isFieldValue(text) && text.trim() === text) return text;
  return encodeURIComponent(text.toWellFormed());
}

/** The value of a cookie; undefined when there is none of that name. Quotes around a value are dropped (RFC 6265). */
export function readCookie(req: RequestHead, name: string): string | undefined {
  const cookies = req.headers.get("cookie");
  if (cookies === undefined) return undefined;
  for (const part of cookies.split(";")) {
    const equals = part.indexOf("=");
    if (equals !== -1 && part.slice(0, equals).trim() === name) {
      return part
        .slice(equals + 1)
        .trim()
        .replace(/^"(.*)"$/, "$1");
    }
  }
  return undefined;
}

/** Takes a cookie out of the request. */
export function removeCookie(req: RequestHead, name: string): void {
  const cookies = req.headers.get("cookie");
  if (cookies === undefined) return;
  const left = cookies
    .split(";")
    .filter((part) => part.slice(0, part.indexOf("=")).trim() !== name);
  if (left.length === 0) req.headers.delete("cookie");
  else req.headers.set("cookie", left.join(";").trim());
}

/** The first value of a query parameter, decoded; undefined when it is absent or not decodable. */
export function readQuery(req: RequestHead, name: string): string | undefined {
  if (req.query === "") return undefined;
  return new URLSearchParams(req.query).get(name) ?? undefined;
}

/** Takes a query parameter out of the request; the rest of the target stays as it came. */
export function removeQuery(req: RequestHead, name: string): void {
  const at = req.target.indexOf("?");
  if (at === -1) return;
  const kept = req.target
    .slice(at + 1)
    .split("&")
    .filter((pair) => !new URLSearchParams(pair).has(name));
  req.query = kept.length === 0 ? "" : `?${kept.join("&")}`;
  req.target = req.target.slice(0, at) + req.query;
}
