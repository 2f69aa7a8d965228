/** Turns routes of a configuration into rules of the routing table, the ones that a mesh implies included. */

import { RE2JS } from "re2js";
import type { Config, MatchConfig, PluginUse, RouteConfig, ValueMatch } from "../config.ts";
import type { Mode } from "../../proxy/pipeline/plugin.ts";
import type { RouteRule, RuleMatch, ValueRule } from "../../proxy/route/table.ts";

/** Name of the inbound plane's only route. */
export const inboundRoute = "inbound";

/** The routes of one side of the proxy, in the order that breaks ties. */
export function routesFor(config: Config, mode: Mode): readonly RouteConfig[] {
  switch (mode) {
    case "gateway":
      return config.routes;
    case "mesh-outbound":
      return [...config.routes, ...Object.keys(config.services).map(serviceRoute)];
    case "mesh-inbound":
      return config.mesh?.app == null
        ? []
        : [{ ...serviceRoute(config.mesh.service), name: inboundRoute, hosts: [] }];
  }
}

/** Every service is reached by its name as Host (CONTRACT section 2, `mesh.outbound`). */
function serviceRoute(service: string): RouteConfig {
  return {
    name: service,
    hosts: [service.toLowerCase()],
    match: [],
    to: [{ service, weight: 1 }],
    redirect: null,
    respond: null,
    app: null,
    rewrite: null,
    plugins: [],
    policy: null,
  };
}

/** The table's rule for a route; `value` is what a match yields. Throws on a regular expression that is none. */
export function toRule<T>(route: RouteConfig, uses: readonly PluginUse[], value: T): RouteRule<T> {
  const cors = uses.some((use) => use.use === "cors" && use.enabled);
  const matches = route.match.map(toMatch);
  return {
    value,
    hosts: route.hosts.map((host) => host.toLowerCase()),
    matches: cors ? [...matches, ...matches.flatMap(preflightOf)] : matches,
  };
}

function toMatch(match: MatchConfig): RuleMatch {
  return {
    path: match.path,
    methods: match.methods,
    headers: Object.entries(match.headers).map(([name, value]) =>
      toValueRule(name.toLowerCase(), value),
    ),
    query: Object.entries(match.query).map(([name, value]) => toValueRule(name, value)),
  };
}

function toValueRule(name: string, match: ValueMatch): ValueRule {
  switch (match.kind) {
    case "exact": {
      const wanted = match.value;
      return { name, exact: wanted, test: (value) => value === wanted };
    }
    case "present": {
      const wanted = match.value;
      return { name, exact: null, test: (value) => (value !== undefined) === wanted };
    }
    case "regex": {
      const regex = RE2JS.compile(match.value);
      return { name, exact: null, test: (value) => value !== undefined && regex.test(value) };
    }
  }
}

/**
 * With the cors plugin on it, a route limited to methods also takes the preflight that asks for one of them (Fetch
 * standard, CORS-preflight request): a browser asks before it sends what the route is for.
 */
function preflightOf(match: RuleMatch): RuleMatch[] {
  const { methods } = match;
  if (methods === null || methods.includes("OPTIONS")) return [];
  const asked: ValueRule = {
    name: "access-control-request-method",
    exact: methods.length === 1 ? methods[0]! : null,
    test: (value) => value !== undefined && methods.includes(value),
  };
  const origin: ValueRule = { name: "origin", exact: null, test: (value) => value !== undefined };
  return [{ ...match, methods: ["OPTIONS"], headers: [...match.headers, origin, asked] }];
}
