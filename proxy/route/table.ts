/** The routing table: host -> path tree -> predicates -> T, compiled once, in the Gateway API's order. */

/** What a route matches on, as plain data. */
export interface RouteRule<T> {
  readonly value: T;
  /** Exact names or `*.suffix`, lower case; empty: every host. */
  readonly hosts: readonly string[];
  readonly matches: readonly RuleMatch[];
}
export interface RuleMatch {
  /** Null: every path, as the prefix `/`. Values are normalised as request paths are. */
  readonly path: PathRule | null;
  /** Null: every method. Upper case as on the wire: methods are case-sensitive (RFC 9110 section 9.1). */
  readonly methods: readonly string[] | null;
  readonly headers: readonly ValueRule[];
  readonly query: readonly ValueRule[];
}
export interface PathRule {
  readonly kind: "prefix" | "exact" | "regex" | "template";
  readonly value: string;
}
export interface ValueRule {
  /** Header names in lower case. */
  readonly name: string;
  readonly test: (value: string | undefined) => boolean;
  /** The only value that `test` takes, when there is just one: lets the table index it. */
  readonly exact: string | null;
}

/** What a request looks like to the table. */
export interface RouteQuery {
  readonly method: string;
  /** Lower case, no port. */
  readonly host: string;
  /** Normalised, no query. */
  readonly path: string;
  /** With `?` or empty. */
  readonly query: string;
  header(lowerName: string): string | undefined;
}

export type MatchResult<T> =
  | {
      readonly kind: "route";
      readonly value: T;
      /** The part of the path that the route matched: what `rewrite.prefix` replaces. */
      readonly matchedPrefix: string;
    }
  /** A route matched in everything but the method. */
  | { readonly kind: "method"; readonly allow: readonly string[] }
  | { readonly kind: "none" };

export interface Router<T> {
  match(query: RouteQuery): MatchResult<T>;
}
