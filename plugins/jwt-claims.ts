/** Reads claims of a token: by name or path, as header text, as scopes. */

import { toFieldValue } from "./identify.ts";

export type ClaimSet = Readonly<Record<string, unknown>>;

/** A claim by its name, or by a path such as `realm_access.roles` when no claim has that name. */
export function readClaim(claims: ClaimSet, name: string): unknown {
  if (Object.hasOwn(claims, name)) return claims[name];
  let value: unknown = claims;
  for (const part of name.split(".")) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, part))
      return undefined;
    value = (value as ClaimSet)[part];
  }
  return value;
}

/** A claim as a field value; null when it is absent. Lists are joined with commas, objects are JSON. */
export function claimText(value: unknown): string | null {
  switch (typeof value) {
    case "string":
      return toFieldValue(value);
    case "number":
    case "boolean":
      return String(value);
    case "object":
      if (value === null) return null;
      if (Array.isArray(value) && value.every((item) => typeof item === "string"))
        return toFieldValue(value.join(","));
      return toFieldValue(JSON.stringify(value));
    default:
      return null;
  }
}

/** True when the claim is one of the wanted values, or a list that has one of them. */
export function hasValue(value: unknown, wanted: readonly unknown[]): boolean {
  return (Array.isArray(value) ? value : [value]).some((item) => wanted.includes(item));
}

/** Scopes of `scope` (RFC 8693: separated by spaces) and `scp` (lists, as some issuers do). */
export function scopesOf(claims: ClaimSet): ReadonlySet<string> {
  const scopes = new Set<string>();
  for (const value of [claims.scope, claims.scp]) {
    const items = typeof value === "string" ? value.split(" ") : Array.isArray(value) ? value : [];
    for (const item of items) if (typeof item === "string" && item !== "") scopes.add(item);
  }
  return scopes;
}
