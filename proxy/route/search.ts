/** The search of one request through one host's table: what was found so far, and lists of entries to ask. */

import { queryValue } from "../http/target.ts";
import type { Entry } from "./entry.ts";
import type { RouteQuery, ValueRule } from "./table.ts";

/** Shorter lists are walked: a walk over so few costs less than one look into an index. */
const INDEX_FROM = 8;

/** What a search holds between two requests, so that it keeps no exchange alive. */
export const noQuery: RouteQuery = {
  method: "",
  host: "",
  path: "",
  query: "",
  header: () => undefined,
};

/** Reused for every request of a router: matching allocates nothing for it. */
export class Search<T> {
  query: RouteQuery = noQuery;
  /** The best entry so far. */
  best: Entry<T> | null = null;
  /** Methods of entries that matched in everything else; null until there is one. */
  allow: Set<string> | null = null;

  /** Takes the entry when it ranks before the best so far and wants no more than the request has. The path is already checked. */
  offer(entry: Entry<T>): void {
    const query = this.query;
    if (this.best !== null && entry.rank > this.best.rank) return;
    const methodFits = entry.methods === null || entry.methods.has(query.method);
    if (!methodFits && this.best !== null) return;
    if (!valuesFit(entry, query)) return;
    if (methodFits) this.best = entry;
    else for (const method of entry.methods!) (this.allow ??= new Set()).add(method);
  }
}

function valuesFit(entry: Entry<unknown>, query: RouteQuery): boolean {
  const headers = entry.headers;
  for (let i = 0; i < headers.length; i++) {
    const rule = headers[i]!;
    if (!rule.test(query.header(rule.name))) return false;
  }
  const parameters = entry.query;
  for (let i = 0; i < parameters.length; i++) {
    const rule = parameters[i]!;
    if (!rule.test(queryValue(query.query, rule.name))) return false;
  }
  return true;
}

/** Entries that want the same path, ranked; a long list is indexed by a header or query value that most of them name. */
export class Bucket<T> {
  private readonly entries: readonly Entry<T>[];
  private readonly index: ValueIndex<T> | null;

  /** @param entries in rank order, at least one */
  constructor(entries: readonly Entry<T>[]) {
    this.index = entries.length < INDEX_FROM ? null : indexByValue(entries);
    this.entries = this.index === null ? entries : entries.slice(0, 1);
  }

  offerTo(search: Search<T>): void {
    const best = search.best;
    if (best !== null && this.entries[0]!.rank > best.rank) return;
    if (this.index === null) {
      for (let i = 0; i < this.entries.length; i++) search.offer(this.entries[i]!);
      return;
    }
    const index = this.index;
    const query = search.query;
    const value =
      index.from === "headers" ? query.header(index.name) : queryValue(query.query, index.name);
    if (value !== undefined) index.byValue.get(value)?.offerTo(search);
    index.rest?.offerTo(search);
  }
}

interface ValueIndex<T> {
  readonly from: "headers" | "query";
  readonly name: string;
  readonly byValue: ReadonlyMap<string, Bucket<T>>;
  /** Those that do not name it, or do not ask for one exact value. */
  readonly rest: Bucket<T> | null;
}

/** An index on the field that most entries ask for by an exact value; null when fewer than half of them share one. */
function indexByValue<T>(entries: readonly Entry<T>[]): ValueIndex<T> | null {
  const counts = new Map<string, number>();
  for (const entry of entries) {
    const keys = new Set<string>();
    for (const rule of entry.headers) if (rule.exact !== null) keys.add(`headers ${rule.name}`);
    for (const rule of entry.query) if (rule.exact !== null) keys.add(`query ${rule.name}`);
    for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  let best: string | null = null;
  for (const [key, count] of counts)
    if (count > (best === null ? 0 : counts.get(best)!)) best = key;
  if (best === null || counts.get(best)! * 2 < entries.length) return null;
  const from = best.startsWith("headers ") ? "headers" : "query";
  const name = best.slice(from.length + 1);
  const byValue = new Map<string, Entry<T>[]>();
  const rest: Entry<T>[] = [];
  for (const entry of entries) {
    const value = exactValue(entry[from], name);
    if (value === null) rest.push(entry);
    else if (byValue.has(value)) byValue.get(value)!.push(entry);
    else byValue.set(value, [entry]);
  }
  // one value shared by all would index nothing, for ever
  if (byValue.size === 1) return null;
  return {
    from,
    name,
    byValue: new Map([...byValue].map(([value, list]) => [value, new Bucket(list)])),
    rest: rest.length === 0 ? null : new Bucket(rest),
  };
}

function exactValue(rules: readonly ValueRule[], name: string): string | null {
  for (const rule of rules) if (rule.name === name && rule.exact !== null) return rule.exact;
  return null;
}
