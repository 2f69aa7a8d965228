/** The configuration in effect, written as a file would have it: `weft check` accepts it, but for the secrets that are hidden. */

import type {
  Config,
  MatchConfig,
  MeshConfig,
  PathMatch,
  PlanConfig,
  PluginUse,
  Rate,
  RouteConfig,
  ServiceConfig,
  ValueMatch,
} from "../config.ts";
import { formatDuration, formatRate, formatSize } from "../units.ts";
import { redact } from "./redact.ts";

/** Plain data in the shape of CONTRACT section 2, defaults filled in, paths absolute, without secrets. */
export function writeConfig(config: Config): unknown {
  const { gateway, mesh, admin, observe } = config;
  const document = {
    gateway,
    mesh: mesh === null ? null : writeMesh(mesh),
    services: mapValues(config.services, writeService),
    routes: config.routes.map(writeRoute),
    plugins: config.plugins.map(writePlugin),
    policies: config.policies,
    consumers: config.consumers,
    plans: mapValues(config.plans, writePlan),
    stores: config.stores,
    access: config.access,
    admin: { address: writeAddress(admin), token: admin.token },
    observe: { accessLog: observe.accessLog },
    drainTimeoutMs: config.drainTimeoutMs,
    workers: config.workers,
  };
  return redact(tidy(document));
}

function writePlan({ limit, quota }: PlanConfig) {
  return { limit, quota: quota === undefined ? null : `${quota.limit}/${quota.per}` };
}

function writeMesh(mesh: MeshConfig) {
  const address = (at: { host: string; port: number } | null) =>
    at === null ? null : writeAddress(at);
  return {
    ...mesh,
    app: address(mesh.app),
    outbound: address(mesh.outbound),
    inbound: address(mesh.inbound),
  };
}

function writeAddress({ host, port }: { readonly host: string; readonly port: number }): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

function writeService(service: ServiceConfig) {
  const endpoints = service.endpoints.map(({ address, weight }) =>
    weight === 1 ? address : { address, weight },
  );
  return { ...service, endpoints: new Kept(endpoints) };
}

function writeRoute(route: RouteConfig) {
  const { match, to, redirect, respond, rewrite } = route;
  const targets = to?.length === 1 && to[0]!.weight === 1 ? to[0]!.service : to;
  const matches = match.map(writeMatch);
  return {
    name: route.name,
    hosts: route.hosts,
    match: matches.length === 1 ? matches[0] : matches,
    to: targets,
    redirect,
    respond: respond === null ? null : { ...respond, body: new Kept(respond.body) },
    app: route.app,
    rewrite,
    plugins: route.plugins.map(writePlugin),
    policy: route.policy,
  };
}

/** A match in the words of the file. */
export function writeMatch(match: MatchConfig) {
  const { path, methods, headers, query } = match;
  return {
    path: path === null ? null : writePath(path),
    methods,
    headers: mapValues(headers, writeValue),
    query: mapValues(query, writeValue),
  };
}

function writePath(path: PathMatch) {
  return path.kind === "prefix" ? path.value : { [path.kind]: path.value };
}

function writeValue(match: ValueMatch) {
  return match.kind === "exact" ? new Kept(match.value) : { [match.kind]: match.value };
}

function writePlugin(use: PluginUse) {
  const { use: name, options, path: _, optionsPath: __, enabled, enforced, ...rest } = use;
  const beside = tidy({
    ...rest,
    enabled: enabled ? null : false,
    enforced: enforced ? true : null,
  });
  const bare = Object.keys((options ?? {}) as object).length === 0;
  if (bare && Object.keys(beside as object).length === 0) return name;
  return { [name]: new Kept(options ?? {}), ...(beside as object) };
}

/** A value that is written as it is, even when it is empty. */
class Kept {
  readonly value: unknown;
  constructor(value: unknown) {
    this.value = value;
  }
}

/** Leaves out what is null or empty; `xMs: 5000` becomes `x: 5s`, bytes and rates get their units. */
export function tidy(value: unknown): unknown {
  if (value instanceof Kept) return value.value;
  if (Array.isArray(value)) return value.map(tidy);
  if (typeof value !== "object" || value === null) return value;
  if ("windowMs" in value && "limit" in value) return formatRate(value as Rate);
  const result: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value)) {
    if (item === null || item === undefined) continue;
    if (key.endsWith("Ms") && typeof item === "number") {
      result[key.slice(0, -2)] = formatDuration(item);
      continue;
    }
    if (key.endsWith("Bytes") && typeof item === "number") {
      result[key] = formatSize(item);
      continue;
    }
    const tidied = tidy(item);
    if (!(item instanceof Kept) && isEmpty(tidied)) continue;
    result[key] = tidied;
  }
  return result;
}

function isEmpty(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}

function mapValues<A>(
  record: Readonly<Record<string, A>>,
  write: (one: A) => unknown,
): Record<string, unknown> {
  return Object.fromEntries(Object.entries(record).map(([key, one]) => [key, write(one)]));
}
