/** Says of each route why it did not get a request: what did not match, or who was more specific. */

import type { RouteConfig, ValueMatch } from "../config.ts";
import { queryValue } from "../../proxy/http/target.ts";
import { compareEntries, Entry, templateElements } from "../../proxy/route/entry.ts";
import { compileRouter } from "../../proxy/route/match.ts";
import type { RouteQuery, RouteRule, RuleMatch } from "../../proxy/route/table.ts";

/** A route that did not get the request. */
export interface Lost {
  readonly route: string;
  readonly why: string;
}

/** A route and the rule made of it. */
export interface RuledRoute {
  readonly route: RouteConfig;
  readonly rule: RouteRule<RouteConfig>;
}

/** How well a route's hosts fit: higher is more specific; null: not at all. */
interface HostFit {
  readonly host: string;
  readonly rank: number;
}

/** Why each route but the winner lost, in the order of the file. */
export function explainLosers(
  routes: readonly RuledRoute[],
  winner: RouteConfig | null,
  query: RouteQuery,
): Lost[] {
  const won = routes.find(({ route }) => route === winner) ?? null;
  return routes
    .filter((one) => one !== won)
    .map((one) => ({
      route: one.route.name,
      why: mismatch(one, query) ?? outranked(one, won, query),
    }));
}

/** What of the route the request does not have; null when it matches. */
function mismatch({ route, rule }: RuledRoute, query: RouteQuery): string | null {
  if (fitHost(rule.hosts, query.host) === null) {
    return `host ${query.host === "" ? "(none)" : query.host} is not ${either(rule.hosts)}`;
  }
  if (rule.matches.length === 0) return null;
  // of several matches, the one that came closest says most
  let closest = { stage: -1, why: "" };
  for (const [index, match] of rule.matches.entries()) {
    const failed = failure(route, index, match, query);
    if (failed === null) return null;
    if (failed.stage > closest.stage) closest = failed;
  }
  return closest.why;
}

function failure(
  route: RouteConfig,
  index: number,
  match: RuleMatch,
  query: RouteQuery,
): { stage: number; why: string } | null {
  const entry = new Entry(null, match);
  if (!pathFits(entry, query.path)) {
    return { stage: 0, why: `path ${query.path} ${pathMiss(match)}` };
  }
  const configured = route.match[index];
  for (const rule of match.headers) {
    const value = query.header(rule.name);
    if (rule.test(value)) continue;
    const wanted = named(configured?.headers ?? {}, rule.name);
    return { stage: 1, why: valueMiss(`header ${rule.name}`, value, wanted) };
  }
  for (const rule of match.query) {
    const value = queryValue(query.query, rule.name);
    if (rule.test(value)) continue;
    const wanted = configured?.query[rule.name];
    return { stage: 1, why: valueMiss(`query parameter ${rule.name}`, value, wanted) };
  }
  if (match.methods !== null && !match.methods.includes(query.method)) {
    return { stage: 2, why: `method ${query.method} is not ${either(match.methods)}` };
  }
  return null;
}

function named(
  matches: Readonly<Record<string, ValueMatch>>,
  lowerName: string,
): ValueMatch | undefined {
  return Object.entries(matches).find(([name]) => name.toLowerCase() === lowerName)?.[1];
}

function pathFits(entry: Entry<unknown>, path: string): boolean {
  switch (entry.kind) {
    case "exact":
      return path === entry.path;
    case "prefix":
      return path.startsWith(entry.path) && [undefined, "/"].includes(path[entry.path.length]);
    case "regex":
      return entry.regex!.test(path);
    case "template": {
      const elements = path.slice(1).split("/");
      const wanted = templateElements(entry.path);
      return (
        wanted.length === elements.length &&
        wanted.every((one, i) => (one === null ? elements[i] !== "" : one === elements[i]))
      );
    }
  }
}

function pathMiss(match: RuleMatch): string {
  const { kind, value } = match.path ?? { kind: "prefix", value: "/" };
  switch (kind) {
    case "exact":
      return `is not exactly ${value}`;
    case "prefix":
      return `is not ${value} or below it`;
    case "regex":
      return `does not match ${value}`;
    case "template":
      return `does not have the form ${value}`;
  }
}

function valueMiss(
  what: string,
  value: string | undefined,
  wanted: ValueMatch | undefined,
): string {
  const found = value === undefined ? "is absent" : `is ${JSON.stringify(value)}`;
  switch (wanted?.kind) {
    case "exact":
      return `${what} ${found}, not ${JSON.stringify(wanted.value)}`;
    case "regex":
      return `${what} ${found} and does not match ${wanted.value}`;
    case "present":
      return wanted.value ? `${what} is absent` : `${what} is present`;
    case undefined:
      return `${what} ${found}`;
  }
}

/** It matches too: what made the winner the more specific one. */
function outranked(one: RuledRoute, won: RuledRoute | null, query: RouteQuery): string {
  if (won === null) return "matches";
  const host = fitHost(one.rule.hosts, query.host)!;
  const winnerHost = fitHost(won.rule.hosts, query.host)!;
  if (host.rank < winnerHost.rank) {
    return `matches too, but ${host.host === "" ? "any host" : host.host} is less specific than ${winnerHost.host}`;
  }
  const mine = bestEntry(one, query);
  const theirs = bestEntry(won, query);
  if (compareEntries(mine, theirs) === 0) return "matches too, but stands later in the file";
  if (mine.kind !== theirs.kind && theirs.kind === "exact") {
    return `matches too, but ${pathText(mine)} is less specific than ${pathText(theirs)}`;
  }
  if (mine.specificity !== theirs.specificity || mine.kind !== theirs.kind) {
    return mine.specificity === theirs.specificity
      ? `matches too, but ${pathText(theirs)} comes before ${pathText(mine)}`
      : `matches too, but ${pathText(mine)} is less specific than ${pathText(theirs)}`;
  }
  if ((mine.methods === null) !== (theirs.methods === null)) {
    return `matches too, but names no method, as ${won.route.name} does`;
  }
  if (mine.headers.length !== theirs.headers.length) {
    return `matches too, but asks for ${mine.headers.length} headers, ${won.route.name} for ${theirs.headers.length}`;
  }
  return `matches too, but asks for ${mine.query.length} query parameters, ${won.route.name} for ${theirs.query.length}`;
}

function pathText(entry: Entry<unknown>): string {
  return `${entry.kind} ${entry.path === "" ? "/" : entry.path}`;
}

/** The best of the route's matches that the request has. */
function bestEntry({ rule }: RuledRoute, query: RouteQuery): Entry<unknown> {
  const matches = rule.matches.length === 0 ? [everything] : rule.matches;
  const entries = matches
    .filter((match) => {
      const alone = compileRouter([{ value: null, hosts: [], matches: [match] }]);
      return alone.match(query).kind === "route";
    })
    .map((match) => new Entry(null, match));
  return entries.toSorted(compareEntries)[0]!;
}

const everything: RuleMatch = { path: null, methods: null, headers: [], query: [] };

function fitHost(hosts: readonly string[], host: string): HostFit | null {
  if (hosts.length === 0) return { host: "", rank: 0 };
  let best: HostFit | null = null;
  for (const pattern of hosts) {
    const wildcard = pattern.startsWith("*.");
    const fits =
      pattern === "*" ||
      (wildcard
        ? host.endsWith(pattern.slice(1)) && host.length >= pattern.length
        : host === pattern.toLowerCase());
    const rank = pattern === "*" ? 0 : wildcard ? pattern.length : Number.POSITIVE_INFINITY;
    if (fits && (best === null || rank > best.rank)) best = { host: pattern, rank };
  }
  return best;
}

function either(names: readonly string[]): string {
  const shown = names.slice(0, 5).join(" or ");
  return names.length > 5 ? `${shown} or ${names.length - 5} more` : shown;
}
