/** Keeps the Vary field of an answer complete. */

import type { Fields } from "../proxy/http/fields.ts";

/** Adds a field name to Vary unless it is there or `*` is (RFC 9110 section 12.5.5). */
export function addVary(headers: Fields, name: string): void {
  const vary = headers.get("vary");
  if (vary === undefined || vary.trim() === "") {
    headers.set("vary", name);
    return;
  }
  const names = vary.split(",").map((part) => part.trim().toLowerCase());
  if (names.includes("*") || names.includes(name.toLowerCase())) return;
  headers.set("vary", `${vary}, ${name}`);
}
