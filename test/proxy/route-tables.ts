/** Random routing tables and requests, and the agreement of the fast router with the slow one on them. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { compileRouter } from "../../proxy/route/match.ts";
import type { PathRule, RouteQuery, RuleMatch, ValueRule } from "../../proxy/route/table.ts";
import { referenceMatch } from "./route-reference.ts";

/** A request as tests write it: what is left out is usual. */
export interface Ask {
  readonly method?: string;
  readonly host?: string;
  readonly path?: string;
  readonly query?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A rule about one exact value. */
export function exactly(name: string, wanted: string): ValueRule {
  return { name, exact: wanted, test: (value) => value === wanted };
}

/** What the router is asked. */
export function queryOf(ask: Ask): RouteQuery {
  return {
    method: ask.method ?? "GET",
    host: ask.host ?? "h",
    path: ask.path ?? "/",
    query: ask.query ?? "",
    header: (name) => ask.headers?.[name],
  };
}

const host = fc.constantFrom("a.com", "b.a.com", "c.b.a.com", "*.a.com", "*.b.a.com", "*.com");
const element = fc.constantFrom("a", "b", "v1", "v22");
const prefixes = fc.array(element, { maxLength: 3 }).map((parts) => `/${parts.join("/")}`);
const path: fc.Arbitrary<PathRule | null> = fc.oneof(
  fc.constant(null),
  prefixes.map((value) => ({ kind: "prefix" as const, value })),
  prefixes.map((value) => ({ kind: "prefix" as const, value: value.replace(/\/?$/, "/") })),
  prefixes.map((value) => ({ kind: "exact" as const, value })),
  fc
    .array(fc.oneof(element, fc.constant("{x}")), { minLength: 1, maxLength: 3 })
    .map((parts) => ({ kind: "template" as const, value: `/${parts.join("/")}` })),
  fc
    .constantFrom(
      "^/v\\d+",
      "^/v\\d+/",
      "^/a",
      "^/a/[ab]",
      "^/a(/.*)?$",
      "b$",
      "/v1",
      "^/",
      "^.*a",
      "^/b/v\\d+$",
    )
    .map((value) => ({ kind: "regex" as const, value })),
);
const methods = fc.oneof(
  fc.constant(null),
  fc.uniqueArray(fc.constantFrom("GET", "PUT", "POST"), { minLength: 1 }),
);
const values = (names: readonly string[]): fc.Arbitrary<ValueRule[]> =>
  fc.uniqueArray(
    fc
      .tuple(fc.constantFrom(...names), fc.constantFrom("1", "2"), fc.boolean())
      .map(([name, wanted, indexed]) => ({
        ...exactly(name, wanted),
        ...(indexed ? {} : { exact: null }),
      })),
    { maxLength: 2, selector: (rule) => rule.name },
  );
const match: fc.Arbitrary<RuleMatch> = fc.record({
  path,
  methods,
  headers: values(["x", "y"]),
  query: values(["v", "w"]),
});
const ask = fc.record({
  method: fc.constantFrom("GET", "PUT", "DELETE"),
  host: fc.constantFrom("a.com", "b.a.com", "c.b.a.com", "x.b.a.com", "x.com", "y"),
  path: fc
    .array(fc.oneof(element, fc.constant("c")), { maxLength: 4 })
    .chain((parts) =>
      fc.boolean().map((slash) => `/${parts.join("/")}${slash && parts.length > 0 ? "/" : ""}`),
    ),
  query: fc.constantFrom("", "?v=1", "?v=2&w=1", "?w=2"),
  headers: fc.dictionary(fc.constantFrom("x", "y"), fc.constantFrom("1", "2")),
});

/** Both routers give the same result for any requests to any table of at most `most` rules. */
export function routersAgree(most: number) {
  const rules = fc
    .array(
      fc.record({
        hosts: fc.uniqueArray(host, { maxLength: 2 }),
        matches: fc.array(match, { maxLength: 3 }),
      }),
      { maxLength: most },
    )
    .map((list) => list.map((rule, value) => ({ ...rule, value })));
  const asks = fc.array(ask, { minLength: 1, maxLength: 10 });
  return fc.asyncProperty(rules, asks, async (table, list) => {
    const router = compileRouter(table);
    for (const one of list) {
      const query = queryOf(one);
      assert.deepEqual({ ...router.match(query) }, referenceMatch(table, query));
    }
  });
}
