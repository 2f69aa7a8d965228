/** The regular expressions of one host, grouped by the text they start with: one look per length of such a text. */

import { RE2Set } from "re2js";
import type { Entry } from "./entry.ts";
import { regexLiteral } from "./literal.ts";
import type { Search } from "./search.ts";

/** From this many on, expressions with the same start run as one automaton. */
const SET_FROM = 4;

/** Linear in the path whatever the expressions are: RE2 never backtracks. */
export class Patterns<T> {
  /** Lengths of literal prefixes, longest first. */
  private readonly lengths: readonly number[];
  private readonly groups = new Map<string, Group<T>>();

  /** @param entries regex ones, in rank order */
  constructor(entries: readonly Entry<T>[]) {
    const lists = new Map<string, Entry<T>[]>();
    for (const entry of entries) {
      const literal = regexLiteral(entry.path);
      const list = lists.get(literal);
      if (list === undefined) lists.set(literal, [entry]);
      else list.push(entry);
    }
    for (const [literal, list] of lists) this.groups.set(literal, new Group(list));
    this.lengths = [...new Set([...lists.keys()].map((literal) => literal.length))].toSorted(
      (a, b) => b - a,
    );
  }

  offerTo(search: Search<T>): void {
    const path = search.query.path;
    for (let i = 0; i < this.lengths.length; i++) {
      const length = this.lengths[i]!;
      if (length > path.length) continue;
      const best = search.best;
      if (best !== null && (best.kind === "exact" || best.specificity > length)) return;
      this.groups.get(path.slice(0, length))?.offerTo(search);
    }
  }
}

class Group<T> {
  private readonly entries: readonly Entry<T>[];
  private readonly set: RE2Set | null;

  constructor(entries: readonly Entry<T>[]) {
    this.entries = entries;
    this.set = entries.length < SET_FROM ? null : new RE2Set();
    for (const entry of entries) this.set?.add(entry.path);
    this.set?.compile();
  }

  offerTo(search: Search<T>): void {
    const path = search.query.path;
    if (this.set !== null) {
      for (const index of this.set.match(path)) search.offer(this.entries[index]!);
      return;
    }
    for (let i = 0; i < this.entries.length; i++) {
      const entry = this.entries[i]!;
      if (search.best !== null && entry.rank > search.best.rank) return;
      if (entry.regex!.test(path)) search.offer(entry);
    }
  }
}

/** The part of the path that the expression matched, counted from the path's start. */
export function regexPrefix(entry: Entry<unknown>, path: string): string {
  const matcher = entry.regex!.matcher(path);
  return matcher.find() ? path.slice(0, matcher.end()) : path;
}
