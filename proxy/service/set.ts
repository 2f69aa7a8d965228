/** All services of a worker: they keep their identity, and with it pools, scores, budgets and ejections, over reloads. */

import { metricTable } from "../observe/metric-table.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { SharedState } from "../observe/shared.ts";
import { Endpoint, type EndpointSpec, type EndpointState } from "./endpoint.ts";
import { Service, type ServiceEnv, type ServiceObserver, type ServiceSpec } from "./service.ts";

export interface ServiceSetOptions {
  readonly shared: SharedState;
  /** Null: counts nothing. */
  readonly metrics: Metrics | null;
  /** Number of worker threads: process-wide floors are divided by it. Default 1. */
  readonly workers?: number;
  /** True in the main thread alone: its endpoints keep their rows in the shared table. Default false. */
  readonly owner?: boolean;
  readonly observer?: Partial<ServiceObserver>;
  /** This thread's monotonic milliseconds. Default `performance.now`. */
  readonly now?: () => number;
  /** Default `Math.random`. */
  readonly random?: () => number;
}

/** The services of a configuration that is not in effect yet. */
export interface PreparedServices {
  /** Services that exist already are the live ones, still as the old configuration has them. */
  readonly services: ReadonlyMap<string, Service>;
  /** Puts the new configuration in effect: call once, or never. */
  activate(): void;
}

export class ServiceSet {
  private readonly live = new Map<string, Service>();
  private readonly options: ServiceSetOptions;
  private readonly env: ServiceEnv;
  private readonly now: () => number;
  /** What to add to the shared clock for milliseconds since 1970. */
  private epochMs = 0;

  constructor(options: ServiceSetOptions) {
    const { shared, metrics, observer } = options;
    this.options = options;
    this.now = options.now ?? (() => performance.now());
    this.env = {
      table: shared.endpoints,
      offsetMs: shared.offsetMs,
      random: options.random ?? Math.random,
      share: 1 / Math.max(1, options.workers ?? 1),
      metrics,
      observer: {
        ejected: (endpoint, forMs, times) => {
          if (metrics !== null) {
            metrics.values[
              metrics.series(metricTable.ejections.name, [endpoint.service, endpoint.address])
            ]! += 1;
          }
          observer?.ejected?.(endpoint, forMs, times);
        },
        readmitted: (endpoint) => observer?.readmitted?.(endpoint),
        removed: (endpoint) => observer?.removed?.(endpoint),
      },
    };
  }

  /** The live services by name. */
  get services(): ReadonlyMap<string, Service> {
    return this.live;
  }

  /** First half of an apply: makes what is new and changes nothing that is live. */
  prepare(specs: readonly ServiceSpec[]): PreparedServices {
    const services = new Map<string, Service>();
    for (const spec of specs)
      services.set(keyOf(spec), this.live.get(keyOf(spec)) ?? new Service(spec, this.env));
    return { services, activate: () => this.activate(specs, services) };
  }

  /** Prepares and activates at once. */
  apply(specs: readonly ServiceSpec[]): ReadonlyMap<string, Service> {
    const prepared = this.prepare(specs);
    prepared.activate();
    return prepared.services;
  }

  /** Every endpoint of a service as `/services` shows it; empty for an unknown name. */
  states(service: string): EndpointState[] {
    const found = this.live.get(service);
    if (found === undefined) return [];
    const seenMs = Date.now() - (this.now() + this.env.offsetMs);
    // kept over small differences, so that a moment is shown the same whenever somebody asks
    if (Math.abs(seenMs - this.epochMs) > 500) this.epochMs = seenMs;
    return found.endpoints.map((endpoint) =>
      endpoint.state(found.spec.health !== null, this.epochMs),
    );
  }

  /** Writes `weft_endpoint_healthy`; in the main thread, before each scrape. */
  publishHealth(): void {
    const { metrics } = this.options;
    if (metrics === null) return;
    for (const [key, { name }] of this.live) {
      for (const { address, healthy } of this.states(key)) {
        metrics.values[metrics.series(metricTable.endpointHealthy.name, [name, address])] = healthy
          ? 1
          : 0;
      }
    }
  }

  private activate(specs: readonly ServiceSpec[], services: ReadonlyMap<string, Service>): void {
    for (const [name, service] of this.live) {
      if (services.has(name)) continue;
      this.live.delete(name);
      for (const endpoint of service.endpoints) this.remove(endpoint);
      // exchanges of the old snapshot may still pick from it: they keep what they had
    }
    for (const spec of specs) {
      const service = services.get(keyOf(spec))!;
      this.live.set(keyOf(spec), service);
      this.configure(service, spec);
    }
  }

  private configure(service: Service, spec: ServiceSpec): void {
    const left = new Set(service.endpoints);
    const endpoints = spec.endpoints.map((one) => {
      for (const endpoint of left) {
        if (endpoint.address !== one.address || endpoint.target.key !== one.target.key) continue;
        left.delete(endpoint);
        endpoint.target = one.target;
        endpoint.weight = one.weight;
        return endpoint;
      }
      return this.create(service.name, one);
    });
    service.configure(spec, endpoints, this.now());
    for (const endpoint of left) this.remove(endpoint);
  }

  private create(service: string, spec: EndpointSpec): Endpoint {
    const { shared, metrics, owner } = this.options;
    const row = shared.endpoints.acquire(`${service}\0${spec.address}\0${spec.target.key}`, {
      own: owner ?? false,
      nowMs: this.now() + this.env.offsetMs,
    });
    const slot =
      metrics === null || owner
        ? -1
        : metrics.series(metricTable.endpointLatency.name, [service, spec.address]);
    return new Endpoint(service, spec, row, slot);
  }

  private remove(endpoint: Endpoint): void {
    const { metrics, owner } = this.options;
    endpoint.removed = true;
    if (owner) endpoint.row.disown(this.now() + this.env.offsetMs);
    if (metrics !== null) {
      if (endpoint.latencySlot !== -1) metrics.values[endpoint.latencySlot] = NaN;
      if (owner)
        metrics.values[
          metrics.series(metricTable.endpointHealthy.name, [endpoint.service, endpoint.address])
        ] = NaN;
    }
    this.env.observer.removed(endpoint);
  }
}

function keyOf(spec: ServiceSpec): string {
  return spec.key ?? spec.name;
}
