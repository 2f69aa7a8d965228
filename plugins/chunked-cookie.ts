/** A value that may be too large for one cookie, over several: `name`, `name.1`, `name.2`. */

import { readCookie } from "./identify.ts";
import type { RequestHead } from "../proxy/pipeline/plugin.ts";

/** RFC 6265 section 6.1: browsers keep 4096 bytes of name, value and attributes. */
const chunkChars = 3600;
/** More would not fit into the head of a request. */
const maxChunks = 8;

export interface CookiePlace {
  readonly name: string;
  readonly path: string;
  readonly secure: boolean;
}

/** The value; undefined when it is absent or not whole. */
export function readChunks(req: RequestHead, name: string): string | undefined {
  const first = readCookie(req, name);
  const parts = first === undefined ? null : /^([1-8])\.([\w-]+)$/.exec(first);
  if (parts === null) return undefined;
  let value = parts[2]!;
  for (let i = 1; i < Number(parts[1]); i++) {
    const more = readCookie(req, `${name}.${i}`);
    if (more === undefined) return undefined;
    value += more;
  }
  return value;
}

/** Values of Set-Cookie that keep `value` (base64url) for so many seconds; null: it is too large. */
export function writeChunks(place: CookiePlace, value: string, maxAgeS: number): string[] | null {
  const chunks = value.match(new RegExp(`.{1,${chunkChars}}`, "g")) ?? [];
  if (chunks.length > maxChunks) return null;
  return chunks.map((chunk, index) =>
    index === 0
      ? cookieText(place, `${chunks.length}.${chunk}`, maxAgeS)
      : cookieText({ ...place, name: `${place.name}.${index}` }, chunk, maxAgeS),
  );
}

/** Values of Set-Cookie that remove what the request has of it. */
export function clearChunks(req: RequestHead, place: CookiePlace): string[] {
  const cleared: string[] = [];
  for (let i = 0; i < maxChunks; i++) {
    const name = i === 0 ? place.name : `${place.name}.${i}`;
    if (readCookie(req, name) !== undefined) cleared.push(cookieText({ ...place, name }, "", 0));
  }
  return cleared;
}

/** One Set-Cookie value: not for scripts, and not with requests that other sites make, except for following a link. */
export function cookieText(
  { name, path, secure }: CookiePlace,
  value: string,
  maxAgeS: number,
): string {
  const age = Math.max(0, Math.floor(maxAgeS));
  return `${name}=${value}; Path=${path}; Max-Age=${age}; HttpOnly; SameSite=Lax${secure ? "; Secure" : ""}`;
}

/** Takes the cookies of this name, chunks and all, out of the request. */
export function stripChunks(req: RequestHead, name: string): void {
  const cookies = req.headers.get("cookie");
  if (cookies === undefined || !cookies.includes(name)) return;
  const left = cookies.split(";").filter((part) => {
    const own = part.slice(0, part.indexOf("=")).trim();
    return own !== name && !own.startsWith(`${name}.`);
  });
  if (left.length === 0) req.headers.delete("cookie");
  else req.headers.set("cookie", left.join(";").trim());
}
