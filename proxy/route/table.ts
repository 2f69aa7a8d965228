/** The routing table: host -> path tree -> predicates -> T, compiled once, in the Gateway API's order. */

/** What a route matches on, as plain data. */
export interface RouteRule<T> {
  readonly value: T
  /** Exact names or `*.suffix`, lower case; empty: every host. */
  readonly hosts: readonly string[]
  readonly matches: readonly RuleMatch[]
}
export interface RuleMatch {
  readonly path: { readonly kind: 'prefix' | 'exact' | 'regex' | 'template'; readonly value: string } | null
  readonly methods: readonly string[] | null
  readonly headers: readonly { readonly name: string; readonly test: (value: string | undefined) => boolean }[]
  readonly query: readonly { readonly name: string; readonly test: (value: string | undefined) => boolean }[]
}

/** What a request looks like to the table. */
export interface RouteQuery {
  readonly method: string
  /** Lower case, no port. */
  readonly host: string
  /** Normalised, no query. */
  readonly path: string
  /** With `?` or empty. */
  readonly query: string
  header(lowerName: string): string | undefined
}

export type MatchResult<T> =
  | { readonly kind: 'route'; readonly value: T; readonly matchedPrefix: string }
  /** A route matched in everything but the method. */
  | { readonly kind: 'method'; readonly allow: readonly string[] }
  | { readonly kind: 'none' }

export interface Router<T> {
  match(query: RouteQuery): MatchResult<T>
}
