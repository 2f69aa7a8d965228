/** Compiles rules into a router and runs requests through it: host, then path, then predicates. */

import { entriesByHost, type Entry } from "./entry.ts";
import { Patterns, regexPrefix } from "./patterns.ts";
import { noQuery, Search } from "./search.ts";
import { PathTree } from "./tree.ts";
import type { MatchResult, RouteQuery, Router, RouteRule } from "./table.ts";

/**
 * Builds the table. Its cost per request does not depend on the number of rules.
 * Throws a TypeError on a path or expression that no request could match.
 */
export function compileRouter<T>(rules: readonly RouteRule<T>[]): Router<T> {
  return new HostRouter(rules);
}

class HostTable<T> {
  private readonly tree: PathTree<T>;
  private readonly patterns: Patterns<T> | null;

  constructor(entries: readonly Entry<T>[]) {
    const regexes = entries.filter((entry) => entry.kind === "regex");
    this.tree = new PathTree(entries.filter((entry) => entry.kind !== "regex"));
    this.patterns = regexes.length === 0 ? null : new Patterns(regexes);
  }

  offerTo(search: Search<T>): void {
    this.tree.offerTo(search);
    this.patterns?.offerTo(search);
  }
}

const none = { kind: "none" } as const;

class HostRouter<T> implements Router<T> {
  private readonly exact = new Map<string, HostTable<T>>();
  /** By the suffix behind `*.`; null when there is none. */
  private readonly wildcards: Map<string, HostTable<T>> | null;
  private readonly every: HostTable<T> | null;
  private readonly search = new Search<T>();

  constructor(rules: readonly RouteRule<T>[]) {
    const wildcards = new Map<string, HostTable<T>>();
    let every: HostTable<T> | null = null;
    for (const [host, entries] of entriesByHost(rules)) {
      const table = new HostTable(entries);
      if (host === "") every = table;
      else if (host.startsWith("*.")) wildcards.set(host.slice(2), table);
      else this.exact.set(host, table);
    }
    this.wildcards = wildcards.size === 0 ? null : wildcards;
    this.every = every;
  }

  match(query: RouteQuery): MatchResult<T> {
    const search = this.search;
    search.query = query;
    search.best = null;
    search.allow = null;
    this.searchHosts(search, query.host);
    const best = search.best as Entry<T> | null;
    search.best = null;
    search.query = noQuery;
    if (best === null) return this.missed(search);
    if (best.result !== null) return best.result;
    const matchedPrefix = best.kind === "regex" ? regexPrefix(best, query.path) : query.path;
    return { kind: "route", value: best.value, matchedPrefix };
  }

  /** From the most specific host on, until a table has the request. */
  private searchHosts(search: Search<T>, host: string): void {
    this.exact.get(host)?.offerTo(search);
    if (search.best !== null) return;
    // no name is longer (RFC 1035 section 2.3.4), and a walk over the labels of a text that is would be long
    if (this.wildcards !== null && host.length <= 255) {
      for (let dot = host.indexOf(".", 1); dot !== -1; dot = host.indexOf(".", dot + 1)) {
        this.wildcards.get(host.slice(dot + 1))?.offerTo(search);
        if (search.best !== null) return;
      }
    }
    this.every?.offerTo(search);
  }

  private missed(search: Search<T>): MatchResult<T> {
    if (search.allow === null) return none;
    const allow = [...search.allow].toSorted();
    search.allow = null;
    return { kind: "method", allow };
  }
}
