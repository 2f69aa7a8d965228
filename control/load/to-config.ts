/** From what the schema read to `Config`: files become absolute paths, lists are filled in, absent things are null. */

import { isAbsolute, resolve } from "node:path";
import type {
  AccessConfig,
  Config,
  ConfigPath,
  EndpointConfig,
  ListenerConfig,
  MatchConfig,
  MeshConfig,
  PathMatch,
  PluginUse,
  PolicyConfig,
  RouteConfig,
  ServiceConfig,
  ValueMatch,
} from "../config.ts";
import type { ParsedConfig } from "../schema.ts";
import type { ParsedPlugin } from "../schema/route.ts";
import type { policySchema } from "../schema/policy.ts";
import type { z } from "zod";

type ParsedRoute = ParsedConfig["routes"][number];
type ParsedService = ParsedConfig["services"][string];
type ParsedPolicy = z.output<typeof policySchema>;
type ParsedMatch = ParsedRoute["match"][number];

/** `baseDir` is the absolute folder that relative paths start from. */
export function toConfig(
  parsed: ParsedConfig,
  baseDir: string,
  mode: "gateway" | "mesh" | "check",
): Config {
  const file = (path: string): string => resolve(baseDir, path);
  const admin = parsed.admin?.address;
  return {
    gateway:
      parsed.gateway === undefined
        ? null
        : {
            listeners: parsed.gateway.listeners.map((listener, index) =>
              listenerOf(listener, index, file),
            ),
            trustedHops: parsed.gateway.trustedHops,
            zone: null,
            limits: {
              connections: parsed.gateway.limits.connections,
              headerBytes: parsed.gateway.limits.headerBytes,
              headerCount: parsed.gateway.limits.headerCount,
              headerTimeoutMs: parsed.gateway.limits.headerTimeout,
              idleTimeoutMs: parsed.gateway.limits.idleTimeout,
            },
          },
    mesh: parsed.mesh === undefined ? null : meshOf(parsed.mesh, file, mode),
    services: mapValues(parsed.services, (service) => serviceOf(service, file)),
    routes: parsed.routes.map((route, index) => routeOf(route, index, file)),
    plugins: parsed.plugins.map((plugin, index) => pluginOf(plugin, ["plugins", index], file)),
    policies: mapValues(parsed.policies, policyOf),
    consumers: parsed.consumers.map((one) => ({
      name: one.name,
      keys: one.keys,
      plan: one.plan ?? null,
      groups: one.groups,
    })),
    plans: parsed.plans,
    stores: { redis: redisOf(parsed.stores) },
    access: parsed.access === undefined ? null : accessOf(parsed.access),
    admin: {
      host: admin?.host ?? "127.0.0.1",
      port: admin?.port ?? 9901,
      token: parsed.admin?.token ?? null,
      explicit: parsed.admin !== undefined,
    },
    observe: { accessLog: accessLogOf(parsed.observe.accessLog) },
    drainTimeoutMs: parsed.drainTimeout,
    workers: parsed.workers,
    baseDir,
  };
}

/** `redis: URL`, `redis: { cluster: [..] }` or `cluster: [..]`; a node without a scheme is spoken to in the clear. */
function redisOf(stores: ParsedConfig["stores"]): string | readonly string[] | null {
  const { redis, cluster } = stores;
  if (typeof redis === "string") return redis;
  const nodes = redis?.cluster ?? cluster;
  return nodes?.map((node) => (node.includes("://") ? node : `redis://${node}`)) ?? null;
}

function listenerOf(
  listener: NonNullable<ParsedConfig["gateway"]>["listeners"][number],
  index: number,
  file: (path: string) => string,
): ListenerConfig {
  const { tls } = listener;
  return {
    name: listener.name ?? `port-${listener.port}`,
    host: listener.host ?? null,
    port: listener.port,
    tls:
      tls === undefined
        ? null
        : {
            certificates: tls.certificates.map((pair) => ({
              cert: file(pair.cert),
              key: file(pair.key),
            })),
            clientAuth:
              tls.clientAuth === undefined
                ? null
                : { ca: file(tls.clientAuth.ca), mode: tls.clientAuth.mode },
          },
    protocol: listener.protocol,
    to: listener.to ?? null,
    sni: listener.sni ?? null,
    proxyProtocol: listener.proxyProtocol,
    plugins: listener.plugins.map((plugin, at) =>
      pluginOf(plugin, ["gateway", "listeners", index, "plugins", at], file),
    ),
  };
}

function meshOf(
  mesh: NonNullable<ParsedConfig["mesh"]>,
  file: (path: string) => string,
  mode: "gateway" | "mesh" | "check",
): MeshConfig {
  const plain = (
    address: { host: string; port: number } | undefined,
    fallback: { host: string; port: number } | null,
  ) => (address === undefined ? fallback : { host: address.host, port: address.port });
  const beside = mode !== "gateway";
  return {
    service: mesh.service,
    app: plain(mesh.app, null),
    outbound: plain(mesh.outbound, beside ? { host: "127.0.0.1", port: 15001 } : null),
    inbound: plain(
      mesh.inbound,
      beside && mesh.app !== undefined ? { host: "0.0.0.0", port: 15006 } : null,
    ),
    advertise: mesh.advertise?.text ?? null,
    trustDomain: mesh.trustDomain,
    mtls: mesh.mtls,
    identity:
      mesh.identity === undefined
        ? null
        : {
            cert: file(mesh.identity.cert),
            key: file(mesh.identity.key),
            bundle: file(mesh.identity.bundle),
          },
  };
}

function serviceOf(service: ParsedService, file: (path: string) => string): ServiceConfig {
  return {
    endpoints: (service.endpoints ?? []).map((endpoint): EndpointConfig => ({
      address: endpoint.address.text,
      host: endpoint.address.host,
      port: endpoint.address.port,
      weight: endpoint.weight,
    })),
    tls:
      service.tls === undefined
        ? null
        : {
            ca: service.tls.ca === undefined ? null : file(service.tls.ca),
            serverName: service.tls.serverName ?? null,
          },
    mtls: service.mtls ?? null,
    protocol: service.protocol,
    policy: policyUseOf(service.policy),
    proxyProtocol: service.proxyProtocol ?? null,
    health:
      service.health === undefined
        ? null
        : {
            path: service.health.path ?? "/healthz",
            intervalMs: service.health.interval,
            timeoutMs: service.health.timeout,
            healthy: service.health.healthy,
            unhealthy: service.health.unhealthy,
          },
  };
}

function routeOf(route: ParsedRoute, index: number, file: (path: string) => string): RouteConfig {
  const { redirect, respond, rewrite } = route;
  return {
    name: route.name ?? `route-${index + 1}`,
    hosts: route.hosts,
    match: route.match.map(matchOf),
    to: route.to ?? null,
    redirect:
      redirect === undefined
        ? null
        : {
            scheme: redirect.scheme ?? null,
            host: redirect.host ?? null,
            port: redirect.port ?? null,
            path: redirect.path ?? null,
            prefix: redirect.prefix ?? null,
            status: redirect.status,
          },
    respond:
      respond === undefined
        ? null
        : { status: respond.status, body: respond.body, headers: respond.headers ?? {} },
    app: route.app === undefined ? null : moduleOf(route.app, file),
    rewrite:
      rewrite === undefined
        ? null
        : {
            prefix: rewrite.prefix ?? null,
            path: rewrite.path ?? null,
            host: rewrite.host ?? null,
          },
    plugins: route.plugins.map((plugin, at) =>
      pluginOf(plugin, ["routes", index, "plugins", at], file),
    ),
    policy: policyUseOf(route.policy),
  };
}

function matchOf(match: ParsedMatch): MatchConfig {
  return {
    path: match.path === undefined ? null : pathMatchOf(match.path),
    methods: match.methods ?? null,
    headers: mapValues(match.headers ?? {}, valueMatchOf),
    query: mapValues(match.query ?? {}, valueMatchOf),
  };
}

function pathMatchOf(path: NonNullable<ParsedMatch["path"]>): PathMatch {
  if (typeof path === "string") return { kind: "prefix", value: path };
  if (path.exact !== undefined) return { kind: "exact", value: path.exact };
  if (path.regex !== undefined) return { kind: "regex", value: path.regex };
  if (path.template !== undefined) return { kind: "template", value: path.template };
  return { kind: "prefix", value: path.prefix ?? "/" };
}

function valueMatchOf(match: NonNullable<ParsedMatch["headers"]>[string]): ValueMatch {
  if (typeof match === "string") return { kind: "exact", value: match };
  if (match.regex !== undefined) return { kind: "regex", value: match.regex };
  if (match.present !== undefined) return { kind: "present", value: match.present };
  return { kind: "exact", value: match.exact ?? "" };
}

/** A file is told from a name by its beginning: `./`, `../` or `/`. */
function moduleOf(use: string, file: (path: string) => string): string {
  return /^\.{1,2}\//.test(use) || isAbsolute(use) ? file(use) : use;
}

function pluginOf(
  plugin: ParsedPlugin,
  path: ConfigPath,
  file: (path: string) => string,
): PluginUse {
  return {
    use: moduleOf(plugin.use, file),
    options: plugin.options,
    id: plugin.id ?? null,
    when: plugin.when ?? null,
    onError: plugin.onError ?? null,
    stage: plugin.stage ?? null,
    before: plugin.before ?? [],
    after: plugin.after ?? [],
    enabled: plugin.enabled,
    enforced: plugin.enforced,
    path,
    optionsPath: plugin.key === null ? path : [...path, plugin.key],
  };
}

function policyUseOf(policy: string | ParsedPolicy | undefined): string | PolicyConfig | null {
  if (policy === undefined) return null;
  return typeof policy === "string" ? policy : policyOf(policy);
}

function policyOf(policy: ParsedPolicy): PolicyConfig {
  const { retry, ejection } = policy;
  return given({
    timeoutMs: policy.timeout,
    totalTimeoutMs: policy.totalTimeout,
    attemptTimeoutMs: policy.attemptTimeout,
    connectTimeoutMs: policy.connectTimeout,
    idleTimeoutMs: policy.idleTimeout,
    retry:
      retry === undefined
        ? undefined
        : given({
            attempts: retry.attempts,
            on: retry.on,
            backoff:
              retry.backoff === undefined
                ? undefined
                : given({ baseMs: retry.backoff.base, maxMs: retry.backoff.max }),
            budget:
              retry.budget === undefined
                ? undefined
                : given({ percent: retry.budget.percent, floor: retry.budget.floor }),
          }),
    balance: policy.balance,
    ejection:
      ejection === undefined
        ? undefined
        : given({
            consecutive: ejection.consecutive,
            baseMs: ejection.base,
            maxMs: ejection.max,
            maxEjectedPct: ejection.maxEjectedPct,
          }),
  });
}

function accessOf(access: NonNullable<ParsedConfig["access"]>): AccessConfig {
  return {
    default: access.default ?? null,
    rules: access.rules.map((rule) => ({
      to: rule.to,
      from: rule.from,
      methods: rule.methods ?? null,
      paths: rule.paths ?? null,
      action: rule.action,
    })),
  };
}

function accessLogOf(log: ParsedConfig["observe"]["accessLog"]): Config["observe"]["accessLog"] {
  if (log === false) return null;
  return log === true
    ? { format: "json", when: null, sample: 1 }
    : { format: log.format, when: log.when ?? null, sample: log.sample };
}

type Given<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** Leaves the undefined out: a policy says only what was written. */
function given<T extends object>(value: T): Given<T> {
  return Object.fromEntries(
    Object.entries(value).filter(([, one]) => one !== undefined),
  ) as Given<T>;
}

function mapValues<A, B>(value: Readonly<Record<string, A>>, to: (one: A) => B): Record<string, B> {
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, to(one)]));
}
