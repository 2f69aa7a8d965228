/** One match of one route, prepared: what it wants, and where it stands in the Gateway API's order. */

import { RE2JS } from "re2js";
import { normalisePath } from "../http/target.ts";
import { regexLiteral } from "./literal.ts";
import type { MatchResult, PathRule, RouteRule, RuleMatch, ValueRule } from "./table.ts";

export type RouteResult<T> = Extract<MatchResult<T>, { kind: "route" }>;

/** A {@link RuleMatch} after preparation. */
export class Entry<T> {
  readonly value: T;
  readonly kind: PathRule["kind"];
  /** Normalised: a prefix without its trailing slash (`/` is the empty text), a regex as written. */
  readonly path: string;
  /** Characters of the path that are fixed; -1 for a prefix that takes everything. */
  readonly specificity: number;
  /** Of a regex; else null. */
  readonly regex: RE2JS | null;
  readonly methods: ReadonlySet<string> | null;
  readonly headers: readonly ValueRule[];
  readonly query: readonly ValueRule[];
  /** Made once when the matched part is always the same text; null for regex and template. */
  readonly result: RouteResult<T> | null;
  /** Position among all entries of its host; 0 wins over all others. Set by the table. */
  rank = 0;

  constructor(value: T, match: RuleMatch) {
    this.value = value;
    this.kind = match.path?.kind ?? "prefix";
    this.path = preparePath(this.kind, match.path?.value ?? "/");
    this.regex = this.kind === "regex" ? RE2JS.compile(this.path) : null;
    this.specificity = specificityOf(this.kind, this.path);
    this.methods = match.methods === null ? null : new Set(match.methods);
    this.headers = match.headers;
    this.query = match.query;
    this.result =
      this.kind === "prefix" || this.kind === "exact"
        ? { kind: "route", value, matchedPrefix: this.path === "" ? "/" : this.path }
        : null;
  }
}

function specificityOf(kind: PathRule["kind"], path: string): number {
  switch (kind) {
    case "exact":
      return path.length;
    case "prefix":
      // the prefix of every path says nothing: even an expression without a literal part says more
      return path === "" ? -1 : path.length;
    case "regex":
      return regexLiteral(path).length;
    case "template":
      return templateLiteral(path).length;
  }
}

/** The fixed text before the first `{`. */
export function templateLiteral(template: string): string {
  const open = template.indexOf("{");
  return open === -1 ? template : template.slice(0, open);
}

/** Elements of a template: a text, or null for `{x}`. */
export function templateElements(template: string): (string | null)[] {
  return template
    .slice(1)
    .split("/")
    .map((element) => (isParameter(element) ? null : element));
}

function isParameter(element: string): boolean {
  return element.startsWith("{") && element.endsWith("}");
}

/**
 * What is wrong with a path of a rule, as a sentence; null when nothing is.
 * {@link preparePath} throws the same sentence.
 */
export function pathProblem(kind: PathRule["kind"], value: string): string | null {
  if (kind === "regex") {
    try {
      RE2JS.compile(value);
      return null;
    } catch (error) {
      return `not a regular expression: ${error instanceof Error ? error.message : String(error)}`;
    }
  }
  if (!value.startsWith("/")) return "a path starts with a slash";
  if (value.includes("?") || value.includes("#")) return "a path has no query and no fragment";
  const normal = normalisePath(value);
  if (typeof normal !== "string") return `${normal.refused}: no request with it gets through`;
  if (kind !== "template") return null;
  for (const element of value.slice(1).split("/")) {
    if (
      isParameter(element) ? !/^\{[A-Za-z_][A-Za-z0-9_.-]*\}$/.test(element) : /[{}]/.test(element)
    ) {
      return `{name} stands for one whole element of a template, ${JSON.stringify(element)} is none`;
    }
  }
  return null;
}

function preparePath(kind: PathRule["kind"], value: string): string {
  const problem = pathProblem(kind, value);
  if (problem !== null) throw new TypeError(problem);
  if (kind === "regex") return value;
  const normal = normalisePath(value) as string;
  return kind === "prefix" && normal.endsWith("/") ? normal.slice(0, -1) : normal;
}

const kindOrder = { exact: 0, prefix: 1, regex: 2, template: 2 } as const;

/**
 * Order within a host (Gateway API HTTPRouteRule): exact path, most fixed characters, prefix before regex and template,
 * method, most headers, most query parameters. The sort is stable, so that the file's order decides the rest.
 */
export function compareEntries(a: Entry<unknown>, b: Entry<unknown>): number {
  const exact = Number(b.kind === "exact") - Number(a.kind === "exact");
  if (exact !== 0) return exact;
  if (a.specificity !== b.specificity) return b.specificity - a.specificity;
  if (kindOrder[a.kind] !== kindOrder[b.kind]) return kindOrder[a.kind] - kindOrder[b.kind];
  const method = Number(b.methods !== null) - Number(a.methods !== null);
  if (method !== 0) return method;
  if (a.headers.length !== b.headers.length) return b.headers.length - a.headers.length;
  return b.query.length - a.query.length;
}

/** The entries of each host, ranked. Key `''` is "every host"; `*.suffix` stays as it is. */
export function entriesByHost<T>(rules: readonly RouteRule<T>[]): Map<string, Entry<T>[]> {
  const byHost = new Map<string, Entry<T>[]>();
  for (const rule of rules) {
    const matches = rule.matches.length === 0 ? [anything] : rule.matches;
    const hosts = rule.hosts.length === 0 ? [""] : new Set(rule.hosts.map(hostKey));
    for (const host of hosts) {
      let entries = byHost.get(host);
      if (entries === undefined) byHost.set(host, (entries = []));
      for (const match of matches) entries.push(new Entry(rule.value, match));
    }
  }
  for (const entries of byHost.values()) {
    entries.sort(compareEntries);
    for (let i = 0; i < entries.length; i++) entries[i]!.rank = i;
  }
  return byHost;
}

const anything: RuleMatch = { path: null, methods: null, headers: [], query: [] };

function hostKey(host: string): string {
  const lower = host.toLowerCase();
  return lower === "*" ? "" : lower;
}
