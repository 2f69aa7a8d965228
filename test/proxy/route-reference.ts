/** A second, slow router, written from the contract's words and nothing else: what the fast one is compared with. */

import type { RouteQuery, RouteRule, RuleMatch } from "../../proxy/route/table.ts";

interface Fit<T> {
  readonly value: T;
  readonly matchedPrefix: string;
  readonly methodFits: boolean;
  readonly methods: readonly string[];
  /** Compared left to right, greater first. */
  readonly key: readonly number[];
}

export type ReferenceResult<T> =
  | { readonly kind: "route"; readonly value: T; readonly matchedPrefix: string }
  | { readonly kind: "method"; readonly allow: readonly string[] }
  | { readonly kind: "none" };

/** Walks every match of every rule; sorts all that fit. */
export function referenceMatch<T>(
  rules: readonly RouteRule<T>[],
  query: RouteQuery,
): ReferenceResult<T> {
  const fits: Fit<T>[] = [];
  let order = 0;
  for (const rule of rules) {
    const matches = rule.matches.length === 0 ? [everything] : rule.matches;
    for (const match of matches) {
      order--;
      for (const host of rule.hosts.length === 0 ? [""] : rule.hosts) {
        const hostRank = rankHost(host, query.host);
        const path = fitPath(match, query.path);
        if (hostRank === null || path === null) continue;
        if (!match.headers.every((rule) => rule.test(query.header(rule.name)))) continue;
        const parameters = new URLSearchParams(query.query);
        const has = (name: string): string | undefined => parameters.get(name) ?? undefined;
        if (!match.query.every((rule) => rule.test(has(rule.name)))) continue;
        fits.push({
          value: rule.value,
          matchedPrefix: path.matched,
          methodFits: match.methods === null || match.methods.includes(query.method),
          methods: match.methods ?? [],
          key: [
            hostRank,
            path.exact,
            path.length,
            path.prefix,
            match.methods === null ? 0 : 1,
            match.headers.length,
            match.query.length,
            order,
          ],
        });
      }
    }
  }
  const able = fits.filter((fit) => fit.methodFits).toSorted((a, b) => compare(b.key, a.key));
  if (able[0] !== undefined) {
    return { kind: "route", value: able[0].value, matchedPrefix: able[0].matchedPrefix };
  }
  if (fits.length === 0) return { kind: "none" };
  return { kind: "method", allow: [...new Set(fits.flatMap((fit) => fit.methods))].toSorted() };
}

const everything: RuleMatch = { path: null, methods: null, headers: [], query: [] };

function rankHost(pattern: string, host: string): number | null {
  if (pattern === "") return 0;
  if (!pattern.startsWith("*.")) return pattern === host ? 1_000 : null;
  const suffix = pattern.slice(1);
  return host.endsWith(suffix) && host.length > suffix.length ? suffix.length : null;
}

function fitPath(
  match: RuleMatch,
  path: string,
): { exact: number; length: number; prefix: number; matched: string } | null {
  const { kind, value } = match.path ?? { kind: "prefix", value: "/" };
  const elements = path.split("/");
  switch (kind) {
    case "exact":
      return path === value ? { exact: 1, length: value.length, prefix: 0, matched: path } : null;
    case "prefix": {
      const wanted = value.replace(/\/$/, "").split("/");
      if (!wanted.every((element, i) => elements[i] === element)) return null;
      const length = wanted.join("/").length;
      const matched = wanted.join("/") || "/";
      return { exact: 0, length: length === 0 ? -1 : length, prefix: 1, matched };
    }
    case "template": {
      const wanted = value.split("/");
      const fits =
        wanted.length === elements.length &&
        wanted.every((one, i) => (one.startsWith("{") ? elements[i] !== "" : one === elements[i]));
      const length = value.includes("{") ? value.indexOf("{") : value.length;
      return fits ? { exact: 0, length, prefix: 0, matched: path } : null;
    }
    case "regex": {
      const found = new RegExp(value).exec(path);
      if (found === null) return null;
      // the expressions of the tests have plain characters up to their first special one
      const literal = value.startsWith("^") ? (/^\^([/a-z0-9]*)/.exec(value)?.[1] ?? "") : "";
      const matched = path.slice(0, found.index + found[0].length);
      return { exact: 0, length: literal.length, prefix: 0, matched };
    }
  }
}

function compare(a: readonly number[], b: readonly number[]): number {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return 0;
}
