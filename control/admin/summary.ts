/** `/dashboard.json`: everything that the dashboard shows, in one answer. Counters are totals; the page takes the differences. */

import { describeRoutes, describeServices, type EndpointView, type RouteView } from "./describe.ts";
import { readExposition, type Sample } from "./exposition.ts";
import type { AdminSource } from "./source.ts";

/** Totals since the process began. */
export interface Traffic {
  requests: number;
  /** Answers of 500 and above. */
  errors: number;
  /** Cumulative counts of the latency histogram: upper bound in seconds (`+Inf` last) to count. */
  buckets: Record<string, number>;
}

interface EndpointTraffic {
  attempts: number;
  failures: number;
}

const wanted = new Set([
  "weft_requests_total",
  "weft_request_duration_seconds_bucket",
  "weft_attempts_total",
  "weft_active_requests",
  "weft_connections",
]);

class Totals {
  readonly all: Traffic = { requests: 0, errors: 0, buckets: {} };
  readonly listeners = new Map<string, Traffic>();
  readonly routes = new Map<string, Traffic>();
  readonly services = new Map<string, Traffic>();
  readonly endpoints = new Map<string, EndpointTraffic>();
  active = 0;
  connections = 0;

  constructor(text: string) {
    for (const sample of readExposition(text, (name) => wanted.has(name))) this.#add(sample);
  }

  #add({ name, labels, value }: Sample): void {
    switch (name) {
      case "weft_requests_total":
        for (const traffic of this.#of(labels)) {
          traffic.requests += value;
          if (Number(labels.status) >= 500) traffic.errors += value;
        }
        break;
      case "weft_request_duration_seconds_bucket":
        for (const traffic of this.#of(labels))
          traffic.buckets[labels.le ?? ""] = (traffic.buckets[labels.le ?? ""] ?? 0) + value;
        break;
      case "weft_attempts_total": {
        const key = `${labels.service}\n${labels.endpoint}`;
        const endpoint = this.endpoints.get(key) ?? { attempts: 0, failures: 0 };
        endpoint.attempts += value;
        if (isFailure(labels.result ?? "")) endpoint.failures += value;
        this.endpoints.set(key, endpoint);
        break;
      }
      case "weft_active_requests":
        this.active += value;
        break;
      case "weft_connections":
        if (labels.side === "downstream") this.connections += value;
        break;
    }
  }

  /** Everything a sample's labels count for. */
  *#of(labels: Readonly<Record<string, string>>): Generator<Traffic> {
    yield this.all;
    if (labels.listener) yield trafficOf(this.listeners, labels.listener);
    if (labels.route) yield trafficOf(this.routes, labels.route);
    if (labels.service) yield trafficOf(this.services, labels.service);
  }
}

/** `result` is a status class or number, or the code of an error. */
function isFailure(result: string): boolean {
  return !/^[1-4](\d\d|xx)$/.test(result) && result !== "ok" && result !== "success";
}

function trafficOf(map: Map<string, Traffic>, key: string): Traffic {
  let traffic = map.get(key);
  if (traffic === undefined) map.set(key, (traffic = { requests: 0, errors: 0, buckets: {} }));
  return traffic;
}

const none: Traffic = { requests: 0, errors: 0, buckets: {} };

/** The whole answer. `atMs` is this machine's clock. */
export function summarise(source: AdminSource, atMs: number): Record<string, unknown> {
  const totals = new Totals(source.metrics());
  const readiness = source.readiness();
  const applied = source.current();
  const routes = applied === null ? [] : describeRoutes(applied.config, source.mode);
  const services =
    applied === null
      ? []
      : describeServices(applied.config, source.mode, (name) => source.endpoints(name));
  return {
    atMs,
    mode: source.mode,
    service: source.mode === "mesh" ? (applied?.config.mesh?.service ?? null) : null,
    ready: readiness.ready,
    draining: readiness.draining,
    uptimeMs: atMs - source.startedAtMs,
    workers: source.workers,
    config:
      applied === null
        ? null
        : { version: applied.version, origin: applied.origin, appliedAtMs: applied.appliedAtMs },
    rejected:
      readiness.lastRejected === null
        ? null
        : { atMs: readiness.lastRejected.atMs, problems: readiness.lastRejected.problems },
    active: totals.active,
    connections: totals.connections,
    ...totals.all,
    listeners: readiness.listeners.map((listener) => ({
      ...listener,
      ...(totals.listeners.get(listener.name) ?? none),
    })),
    routes: routes.map((route) => ({
      ...shortRoute(route),
      ...(totals.routes.get(route.name) ?? none),
    })),
    services: services.map((service) => ({
      ...service,
      ...(totals.services.get(service.name) ?? none),
      endpoints: service.endpoints.map((endpoint) => ({
        ...endpoint,
        ...endpointTraffic(totals, service.name, endpoint),
      })),
    })),
  };
}

function endpointTraffic(totals: Totals, service: string, endpoint: EndpointView): EndpointTraffic {
  return totals.endpoints.get(`${service}\n${endpoint.address}`) ?? { attempts: 0, failures: 0 };
}

function shortRoute(route: RouteView): Record<string, unknown> {
  return {
    name: route.name,
    plane: route.plane,
    matches: matchesInWords(route),
    target: targetInWords(route),
    plugins: route.plugins,
  };
}

/** What a route takes, in a few words: `api.example.com  GET /orders`. */
export function matchesInWords(route: RouteView): string[] {
  const hosts = route.hosts.length === 0 ? [""] : route.hosts;
  const matches = route.match.length === 0 ? [{}] : route.match;
  return hosts.flatMap((host) =>
    matches.map((match) => [host, matchInWords(match)].filter((word) => word !== "").join(" ")),
  );
}

function matchInWords(match: Readonly<Record<string, unknown>>): string {
  const methods = Array.isArray(match.methods) ? match.methods.join("|") : "";
  const headers = Object.entries((match.headers ?? {}) as object).map(
    ([name, value]) => `${name}: ${valueInWords(value)}`,
  );
  const query = Object.entries((match.query ?? {}) as object).map(
    ([name, value]) => `?${name}=${valueInWords(value)}`,
  );
  return [methods, pathInWords(match.path), ...headers, ...query]
    .filter((word) => word !== "")
    .join(" ");
}

function pathInWords(path: unknown): string {
  if (path === undefined) return "/*";
  if (typeof path === "string") return path === "/" ? "/*" : `${path.replace(/\/$/, "")}/*`;
  const [kind, value] = Object.entries(path as object)[0] ?? ["exact", ""];
  return kind === "regex" ? `~ ${value}` : String(value);
}

function valueInWords(value: unknown): string {
  if (typeof value === "string") return value;
  const [kind, inner] = Object.entries((value ?? {}) as object)[0] ?? ["present", true];
  return kind === "present" ? (inner === true ? "*" : "(absent)") : `~ ${inner}`;
}

/** Where a route leads: `orders 90, orders-next 10`, `308 /orders`, `answers 200`, `app ./home.ts`. */
export function targetInWords(route: RouteView): string {
  if (route.to !== null) {
    return route.to.length === 1
      ? (route.to[0]?.service ?? "")
      : route.to.map(({ service, weight }) => `${service} ${weight}`).join(", ");
  }
  if (route.respond !== null) return `answers ${route.respond.status}`;
  if (route.app !== null) return `app ${route.app}`;
  const redirect = route.redirect as {
    status?: number;
    path?: string;
    prefix?: string;
    host?: string;
  } | null;
  return redirect === null
    ? ""
    : `${redirect.status ?? 302} to ${redirect.path ?? redirect.prefix ?? redirect.host ?? ""}`;
}
