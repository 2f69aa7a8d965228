/** Active health checks: the main thread asks every endpoint in turn and writes the answer where all workers see it. */

import type { Dial } from "../exchange.ts";
import type { ProxyHeaderVersion } from "../listen/proxy-header.ts";
import { Health } from "../observe/shared-endpoints.ts";
import type { Endpoint } from "./endpoint.ts";
import { probeHttp } from "./health-probe.ts";
import { probeTcp } from "./health-probe-tcp.ts";
import type { HealthSpec, Service } from "./service.ts";

export interface HealthCheckerOptions {
  readonly dial: Dial;
  /** 0 <= x < 1; default `Math.random`. Spreads the checks. */
  readonly random?: () => number;
  /** An endpoint became healthy or unhealthy; `reason` is the last result in words. Must not throw. */
  readonly changed?: (endpoint: Endpoint, healthy: boolean, reason: string) => void;
}

export class HealthChecker {
  private readonly options: HealthCheckerOptions;
  private readonly watched = new Map<Endpoint, EndpointCheck>();

  constructor(options: HealthCheckerOptions) {
    this.options = options;
  }

  /** Checks these services from now on and no others: call after each apply. What goes on being checked keeps its counts. */
  watch(services: Iterable<Service>): void {
    const wanted = new Map<Endpoint, CheckSpec>();
    for (const { spec, endpoints } of services) {
      const { health, proxyProtocol = null } = spec;
      if (health === null) continue;
      for (const endpoint of endpoints) wanted.set(endpoint, { ...health, proxyProtocol });
    }
    for (const [endpoint, check] of this.watched) {
      if (wanted.has(endpoint)) continue;
      check.stop();
      this.watched.delete(endpoint);
      // nobody looks any more: traffic alone decides
      endpoint.row.setHealth(Health.unknown);
    }
    for (const [endpoint, spec] of wanted) {
      const known = this.watched.get(endpoint);
      if (known !== undefined) known.spec = spec;
      else this.watched.set(endpoint, new EndpointCheck(endpoint, spec, this.options));
    }
  }

  /** Stops all checks; results stay. */
  close(): void {
    for (const check of this.watched.values()) check.stop();
    this.watched.clear();
  }
}

/** How an endpoint is asked. */
type CheckSpec = HealthSpec & { readonly proxyProtocol: ProxyHeaderVersion | null };

/** One endpoint's checks: one at a time, each an interval (+-10 %) after the start of the last. */
class EndpointCheck {
  spec: CheckSpec;
  private readonly endpoint: Endpoint;
  private readonly options: HealthCheckerOptions;
  private readonly random: () => number;
  private timer: NodeJS.Timeout;
  private cancel: (() => void) | null = null;
  private stopped = false;
  /** Results in a row that speak against the present state. */
  private against = 0;

  constructor(endpoint: Endpoint, spec: CheckSpec, options: HealthCheckerOptions) {
    this.endpoint = endpoint;
    this.spec = spec;
    this.options = options;
    this.random = options.random ?? Math.random;
    // the first soon, but not all in the same millisecond
    this.timer = this.schedule(Math.min(100, spec.intervalMs) * this.random());
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.timer);
    this.cancel?.();
  }

  private schedule(afterMs: number): NodeJS.Timeout {
    return setTimeout(() => this.run(), Math.max(0, afterMs)).unref();
  }

  private run(): void {
    const startMs = performance.now();
    const { path, timeoutMs, intervalMs, proxyProtocol } = this.spec;
    const { target } = this.endpoint;
    const { dial } = this.options;
    const done = (healthy: boolean, reason: string): void => {
      this.cancel = null;
      if (this.stopped) return;
      this.learn(healthy, reason);
      this.timer = this.schedule(
        startMs + intervalMs * (0.9 + 0.2 * this.random()) - performance.now(),
      );
    };
    this.cancel =
      target.protocol === "tcp"
        ? probeTcp(target, { timeoutMs, dial, proxyProtocol }, done)
        : probeHttp(target, { path, timeoutMs, dial }, done);
  }

  private learn(healthy: boolean, reason: string): void {
    const { row } = this.endpoint;
    const before = row.health;
    if (before === (healthy ? Health.healthy : Health.unhealthy)) {
      this.against = 0;
      return;
    }
    this.against++;
    // the first good answer of an endpoint that nobody has asked yet is enough
    const needed =
      before === Health.unknown && healthy ? 1 : healthy ? this.spec.healthy : this.spec.unhealthy;
    if (before === Health.unknown && healthy) this.against = 1;
    if (this.against < needed) return;
    this.against = 0;
    row.setHealth(healthy ? Health.healthy : Health.unhealthy);
    this.options.changed?.(this.endpoint, healthy, reason);
  }
}
