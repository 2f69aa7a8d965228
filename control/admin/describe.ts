/** What the configuration says, in the shapes of `/routes`, `/services`, `/plugins` and `/limits`. */

import type { Config, PluginUse, RouteConfig } from "../config.ts";
import { routesFor } from "../compile/rules.ts";
import { mergeUses, useId } from "../compile/uses.ts";
import { redact } from "./redact.ts";
import { tidy, writeMatch } from "./written.ts";
import type { EndpointState, RefusedCaller } from "./source.ts";

/** A route as `/routes` shows it: the words of the configuration file. */
export interface RouteView {
  readonly name: string;
  readonly plane: "edge" | "outbound" | "inbound";
  /** Empty: every host. */
  readonly hosts: readonly string[];
  /** Any of them; empty: everything. */
  readonly match: readonly Readonly<Record<string, unknown>>[];
  readonly to: readonly { readonly service: string; readonly weight: number }[] | null;
  readonly redirect: unknown;
  readonly respond: { readonly status: number } | null;
  readonly app: string | null;
  /** Of the global list, then its own, as configured; `explain` has the run order. */
  readonly plugins: readonly string[];
}

/** Routes of this process, in the order that breaks ties; a sidecar's include those that a mesh implies. */
export function describeRoutes(config: Config, mode: "gateway" | "mesh"): RouteView[] {
  const view = (plane: RouteView["plane"]) => (route: RouteConfig) =>
    describeRoute(route, config.plugins, plane);
  if (mode === "gateway") return routesFor(config, "gateway").map(view("edge"));
  return [
    ...routesFor(config, "mesh-outbound").map(view("outbound")),
    ...routesFor(config, "mesh-inbound").map(view("inbound")),
  ];
}

function describeRoute(
  route: RouteConfig,
  everywhere: readonly PluginUse[],
  plane: RouteView["plane"],
): RouteView {
  return {
    name: route.name,
    plane,
    hosts: route.hosts,
    match: route.match.map((match) => redact(tidy(writeMatch(match))) as Record<string, unknown>),
    to: route.to,
    redirect: route.redirect,
    respond: route.respond === null ? null : { status: route.respond.status },
    app: route.app,
    plugins: mergeUses(everywhere, route.plugins).map(useId),
  };
}

/** A service as `/services` shows it (CONTRACT section 6). */
export interface ServiceView {
  readonly name: string;
  /** How it is spoken to: `mtls` with mesh identities, `tls`, or in the clear. */
  readonly security: "mtls" | "tls" | "none";
  readonly endpoints: readonly EndpointView[];
}

export interface EndpointView {
  readonly address: string;
  readonly healthy: boolean;
  readonly state: EndpointState["state"];
  /** ISO 8601; null: not ejected. */
  readonly ejectedUntil: string | null;
}

/** Services with the live state of each endpoint. */
export function describeServices(
  config: Config,
  mode: "gateway" | "mesh",
  endpoints: (service: string) => readonly EndpointState[],
): ServiceView[] {
  return Object.entries(config.services).map(([name, service]) => {
    const mtls = service.mtls ?? (mode === "mesh" && service.tls === null);
    return {
      name,
      security: mtls ? "mtls" : service.tls === null ? "none" : "tls",
      endpoints: endpoints(name).map(describeEndpoint),
    };
  });
}

function describeEndpoint(state: EndpointState): EndpointView {
  const until = state.ejectedUntilMs === null ? null : new Date(state.ejectedUntilMs).toISOString();
  return {
    address: state.address,
    healthy: state.healthy,
    state: state.state,
    ejectedUntil: until,
  };
}

/** One configured use of a plugin. */
export interface PluginView {
  readonly name: string;
  readonly id: string;
  /** Null: on every route. */
  readonly route: string | null;
  readonly enabled: boolean;
  readonly enforced: boolean;
  readonly when: string | null;
  /** Without secrets. */
  readonly options: unknown;
}

/** Every use of every plugin, global ones first. */
export function describePlugins(config: Config): PluginView[] {
  const ofRoutes = config.routes.flatMap((route) =>
    route.plugins.map((use) => describeUse(use, route.name)),
  );
  return [...config.plugins.map((use) => describeUse(use, null)), ...ofRoutes];
}

function describeUse(use: PluginUse, route: string | null): PluginView {
  const { enabled, enforced, when } = use;
  return {
    name: use.use,
    id: useId(use),
    route,
    enabled,
    enforced,
    when,
    options: redact(use.options ?? {}),
  };
}

/** One limit in effect. */
export interface LimitView {
  readonly plugin: string;
  readonly name: string;
  readonly route: string | null;
  /** As configured: `100/min`, or `plan`. */
  readonly limit: unknown;
  readonly by: unknown;
  readonly store: unknown;
  readonly shadow: unknown;
  /** Requests answered 429 by it (or that would have been, when `shadow`), since the process began. */
  readonly limited: number;
  /** Who was refused lately, the most refused first; at most 50. */
  readonly callers: readonly LimitedCaller[];
}

export interface LimitedCaller {
  readonly caller: string;
  /** ISO 8601: from then on a request is let through again. */
  readonly until: string;
  readonly times: number;
}

const shownCallers = 50;
/** What these plugins do when nothing is said. */
const limitPlugins: Readonly<
  Record<string, { readonly name: string; readonly by: string; readonly limit: string | number }>
> = {
  "rate-limit": { name: "default", by: "client", limit: "100/min" },
  quota: { name: "default", by: "consumer", limit: "10000/day" },
  concurrency: { name: "concurrency", by: "consumer", limit: 10 },
};

/** Limits from the configuration, with what they refused so far. `limited` is asked with route and policy name. */
export function describeLimits(
  config: Config,
  limited: (route: string, policy: string) => number,
  refused: readonly RefusedCaller[] = [],
): LimitView[] {
  const callersOf = Map.groupBy(refused, ({ route, policy }) => `${route}\n${policy}`);
  return describePlugins(config)
    .filter((plugin) => plugin.enabled && Object.hasOwn(limitPlugins, plugin.name))
    .flatMap((plugin) => {
      const options = plugin.options as Readonly<Record<string, unknown>>;
      const defaults = limitPlugins[plugin.name]!;
      const name = typeof options.name === "string" ? options.name : defaults.name;
      const policy = options.shadow === true ? `${name} (shadow)` : name;
      const by = options.plan === true ? "consumer" : defaults.by;
      const isQuota = plugin.name === "quota" && config.stores.redis !== null;
      const routes =
        plugin.route === null ? config.routes.map((route) => route.name) : [plugin.route];
      return routes.map((route) => ({
        plugin: plugin.name,
        name,
        route,
        limit: options.plan === true ? "plan" : (options.limit ?? defaults.limit),
        by: options.by ?? by,
        store: options.store ?? (isQuota ? "redis" : "local"),
        shadow: options.shadow ?? false,
        limited: limited(route, policy),
        callers: (callersOf.get(`${route}\n${policy}`) ?? [])
          .slice(0, shownCallers)
          .map(({ caller, untilMs, times }) => ({
            caller,
            until: new Date(untilMs).toISOString(),
            times,
          })),
      }));
    });
}
