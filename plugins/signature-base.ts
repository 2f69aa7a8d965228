/** The text that a message signature signs (RFC 9421 section 2.5), made from a request. */

import { parseDictionary, serializeInnerList, serializeItem } from "structured-headers";
import type { InnerList, Item } from "structured-headers";
import type { RequestHead } from "../proxy/pipeline/plugin.ts";

/** A component cannot be worked out for this request: the signature is refused. */
export class ComponentError extends Error {}

/** More covered components are not looked at. */
const maxComponents = 64;

/** Names of the covered components, parameters left out. Throws a {@link ComponentError}. */
export function coveredNames([items]: InnerList): Set<string> {
  return new Set(items.map(([name]) => toName(name)));
}

/** Throws a {@link ComponentError} when a component is unknown, absent, or there twice. */
export function signatureBase(req: RequestHead, inner: InnerList): string {
  const [items] = inner;
  if (items.length > maxComponents) throw new ComponentError("it covers too many components");
  const lines = new Map<string, string>();
  for (const item of items) {
    const id = serializeItem(item);
    if (lines.has(id)) throw new ComponentError(`it covers ${id} twice`);
    lines.set(id, componentValue(req, item));
  }
  const text = [...lines].map(([id, value]) => `${id}: ${value}\n`).join("");
  return `${text}"@signature-params": ${serializeInnerList(inner)}`;
}

function componentValue(req: RequestHead, [name, params]: Item): string {
  const text = toName(name);
  if (text.startsWith("@")) return derived(req, text, params);
  const values = req.headers.getAll(text);
  if (values.length === 0) throw new ComponentError(`the request has no ${text}`);
  const [option] = params.keys();
  if (params.size > 1 || (option !== undefined && option !== "key" && option !== "bs"))
    throw new ComponentError(`the parameters of ${text} are not supported`);
  if (option === "bs")
    return values.map((value) => `:${Buffer.from(value, "latin1").toString("base64")}:`).join(", ");
  if (option === "key") return member(text, values.join(", "), params.get("key"));
  return values.map((value) => value.trim()).join(", ");
}

/** Section 2.1.2: one member of a dictionary. */
function member(name: string, value: string, key: unknown): string {
  try {
    const found = typeof key === "string" ? parseDictionary(value).get(key) : undefined;
    if (found === undefined) throw new ComponentError(`${name} has no such member`);
    const [first] = found;
    return Array.isArray(first)
      ? serializeInnerList(found as InnerList)
      : serializeItem(found as Item);
  } catch (error) {
    if (error instanceof ComponentError) throw error;
    throw new ComponentError(`${name} is not a dictionary`);
  }
}

/** Section 2.2. */
function derived(req: RequestHead, name: string, params: Item[1]): string {
  if (name === "@query-param") return queryParam(req, params);
  if (params.size > 0) throw new ComponentError(`the parameters of ${name} are not supported`);
  const query = req.target.indexOf("?");
  switch (name) {
    case "@method":
      return req.method;
    case "@authority":
      return authorityOf(req);
    case "@scheme":
      return req.scheme;
    case "@target-uri":
      return `${req.scheme}://${authorityOf(req)}${req.target}`;
    case "@request-target":
      return req.target;
    case "@path":
      return query === -1 ? req.target : req.target.slice(0, query);
    case "@query":
      return query === -1 ? "?" : req.target.slice(query);
    default:
      throw new ComponentError(`${name} is not a component of requests`);
  }
}

/** Section 2.2.8: decoded and encoded again, so that both ends mean the same; a name that is there twice cannot be signed. */
function queryParam(req: RequestHead, params: Item[1]): string {
  const name = params.get("name");
  if (typeof name !== "string" || params.size !== 1)
    throw new ComponentError("@query-param needs a name and nothing else");
  const encode = (text: string): string =>
    encodeURIComponent(text).replace(
      /[!'()~]/g,
      (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
    );
  const query = new URLSearchParams(req.query);
  const values = [...query].filter(([key]) => encode(key) === name).map(([, value]) => value);
  if (values.length !== 1)
    throw new ComponentError(`the query has ${values.length} parameters of that name`);
  return encode(values[0]!);
}

/** Section 2.2.3: lower case, without the scheme's own port. */
function authorityOf({ authority, scheme }: RequestHead): string {
  const port = scheme === "https" ? ":443" : ":80";
  return authority.endsWith(port) ? authority.slice(0, -port.length) : authority;
}

function toName(name: unknown): string {
  if (typeof name !== "string" || name !== name.toLowerCase())
    throw new ComponentError("a component has no name in lower case");
  return name;
}
