/** Lists of web origins, exact or with one `*`, as several plugins take them. */

import { z } from "zod";

/** An origin, `*`, or one with a single `*` for a part of it: `https://*.example.com`, `http://localhost:*`. */
export function originOption() {
  return z
    .string()
    .refine(
      (text) => text === "*" || text === "null" || /^[a-z][a-z0-9+.-]*:\/\/[^/]+$/i.test(text),
      {
        message: 'an origin is a scheme and a host, without a path: "https://*.example.com"',
      },
    )
    .refine((text) => text.split("*").length <= 2, "at most one * in an origin");
}

/** True for an origin that one of the patterns names; `*` alone is for the caller to see to. */
export function originMatcher(patterns: readonly string[]): (from: string) => boolean {
  const matches = patterns.map(toMatcher);
  return (from) => matches.some((match) => match(from));
}

function toMatcher(pattern: string): (from: string) => boolean {
  const star = pattern.indexOf("*");
  const lower = pattern.toLowerCase();
  if (star === -1) return (from) => from.toLowerCase() === lower;
  const start = lower.slice(0, star);
  const end = lower.slice(star + 1);
  return (from) => {
    const text = from.toLowerCase();
    if (text.length <= start.length + end.length || !text.startsWith(start) || !text.endsWith(end))
      return false;
    // the part that * stands for cannot hold a port or a path: https://evil.example:1.example.com is none of ours
    return /^[a-z0-9.-]+$/.test(text.slice(start.length, text.length - end.length));
  };
}
