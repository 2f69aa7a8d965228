/** A service: a named set of endpoints with its balancer, ejection and retry budget. A live object that outlives snapshots. */

import type { Balancer } from "../../policies/balance/balancer.ts";
import { createBalancer, type BalancerName } from "../../policies/balance/balancers.ts";
import { ejectionMs, mayEject, shouldEject, type EjectionPolicy } from "../../policies/ejection.ts";
import { RetryBudget } from "../../policies/budget.ts";
import { Health, Place, type EndpointTable } from "../observe/shared-endpoints.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { Endpoint, EndpointSpec } from "./endpoint.ts";

/** An active HTTP health check: `GET path` at each endpoint. */
export interface HealthSpec {
  readonly path: string;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** Successes in a row that make an unhealthy endpoint healthy. */
  readonly healthy: number;
  /** Failures in a row that make an endpoint unhealthy. */
  readonly unhealthy: number;
}

/** What the configuration says of a service. */
export interface ServiceSpec {
  readonly name: string;
  /** What it is known by among all services; default: the name. A sidecar's own app may share its name with a service. */
  readonly key?: string;
  readonly endpoints: readonly EndpointSpec[];
  readonly balance: BalancerName;
  readonly ejection: EjectionPolicy;
  /** Null: no active checks. */
  readonly health: HealthSpec | null;
  /** Tunnels to it begin with a PROXY header of this version. Default: none. */
  readonly proxyProtocol?: "v1" | "v2" | null;
}

/** What a service tells of itself. Called from the data path: must not throw. */
export interface ServiceObserver {
  ejected(endpoint: Endpoint, forMs: number, times: number): void;
  /** A probe went well. */
  readmitted(endpoint: Endpoint): void;
  /** Gone from the configuration: its idle connections should be closed. */
  removed(endpoint: Endpoint): void;
}

export interface ServiceEnv {
  readonly table: EndpointTable;
  /** Add to `nowMs` for the clock of the table. */
  readonly offsetMs: number;
  /** 0 <= x < 1 */
  readonly random: () => number;
  /** 1 / workers: this worker's part of process-wide floors. */
  readonly share: number;
  readonly observer: ServiceObserver;
  readonly metrics: Metrics | null;
}

/** How a try went, as far as its endpoint is to blame: `failure` is a 5xx, a failed connect, a reset, a timeout; `cancelled` says nothing of it. */
export type TryOutcome = "success" | "failure" | "cancelled";

/** How long the result of a probe is waited for before somebody else may try. Milliseconds. */
const PROBE_MS = 10_000;

export class Service {
  readonly name: string;
  readonly budget: RetryBudget;
  /** As configured, in order. Replaced, never changed in place. */
  endpoints: readonly Endpoint[] = [];
  spec: ServiceSpec;
  private readonly env: ServiceEnv;
  private balancer: Balancer;
  private usable: readonly Endpoint[] = [];
  private seenChanges = -1;
  /** This worker's clock: when an ejection ends. */
  private wakeMs = 0;

  constructor(spec: ServiceSpec, env: ServiceEnv) {
    this.name = spec.name;
    this.spec = spec;
    this.env = env;
    this.balancer = createBalancer(spec.balance);
    this.budget = new RetryBudget({ share: env.share });
  }

  /** Puts a configuration in effect. The endpoints that stay keep all their state. */
  configure(spec: ServiceSpec, endpoints: readonly Endpoint[], nowMs: number): void {
    const fresh = spec.balance !== this.balancer.name;
    if (fresh) this.balancer = createBalancer(spec.balance);
    this.spec = spec;
    const known = fresh ? [] : this.endpoints.filter((endpoint) => endpoint.balance !== null);
    for (const endpoint of endpoints) {
      if (fresh || endpoint.balance === null)
        endpoint.balance = this.balancer.createState(known, nowMs);
    }
    this.endpoints = endpoints;
    this.seenChanges = -1;
  }

  /**
   * Chooses an endpoint for a try. No allocation unless `exclude` or the set of usable endpoints changed.
   * The caller adds one to `endpoint.active`, takes it away at the end of the try, and calls {@link report}.
   * @param exclude endpoints tried already: left out unless nothing else is usable; null: none
   * @param nowMs this worker's monotonic clock
   */
  pick(
    exclude: ReadonlySet<Endpoint> | null,
    nowMs: number,
  ): Endpoint | "no-endpoint" | "all-ejected" {
    if (this.seenChanges !== this.env.table.changes || nowMs >= this.wakeMs) {
      const probe = this.refresh(exclude, nowMs);
      if (probe !== null) return probe;
    }
    const { usable } = this;
    if (usable.length === 0) return this.endpoints.length === 0 ? "no-endpoint" : "all-ejected";
    if (exclude !== null && exclude.size > 0) {
      const untried = usable.filter((endpoint) => !exclude.has(endpoint));
      if (untried.length > 0) return this.balancer.pick(untried, nowMs, this.env.random);
    }
    return this.balancer.pick(usable, nowMs, this.env.random);
  }

  /**
   * Learns from a try: call once per picked endpoint.
   * @param latencyMs from the start of the try to its response head, or to its failure
   */
  report(endpoint: Endpoint, outcome: TryOutcome, latencyMs: number, nowMs: number): void {
    const { row } = endpoint;
    if (outcome === "cancelled") {
      if (row.place === Place.probing) row.dropProbe(nowMs + this.env.offsetMs);
      return;
    }
    const failed = outcome === "failure";
    this.balancer.observe(endpoint, latencyMs, failed, nowMs);
    endpoint.latencyMs += (latencyMs - endpoint.latencyMs) * (endpoint.latencyMs === 0 ? 1 : 0.1);
    const { metrics } = this.env;
    if (metrics !== null && endpoint.latencySlot !== -1)
      metrics.values[endpoint.latencySlot] = endpoint.latencyMs / 1000;
    if (failed) this.failed(endpoint, nowMs);
    else if (row.place === Place.probing) {
      row.readmit(nowMs + this.env.offsetMs);
      this.env.observer.readmitted(endpoint);
    } else row.succeeded();
  }

  private failed(endpoint: Endpoint, nowMs: number): void {
    const { row } = endpoint;
    const policy = this.spec.ejection;
    const failures = row.failed();
    if (!shouldEject(policy, failures) && row.place !== Place.probing) return;
    const { table, offsetMs, random } = this.env;
    const sharedMs = nowMs + offsetMs;
    const times = row.nextTimes(sharedMs, policy.maxMs);
    const forMs = ejectionMs(policy, times, random());
    // under the lock: two workers must not eject the last two at once
    const ejected = table.exclusively(() => {
      if (row.place === Place.out) return false;
      if (row.place === Place.in && !mayEject(policy, this.endpoints.length, this.outCount()))
        return false;
      row.eject(sharedMs + forMs, times);
      return true;
    });
    if (ejected) this.env.observer.ejected(endpoint, forMs, times);
  }

  private outCount(): number {
    let out = 0;
    for (const { row } of this.endpoints)
      if (row.place !== Place.in || row.health === Health.unhealthy) out++;
    return out;
  }

  /** Rebuilds the list of usable endpoints; returns one whose ejection is over and that this request shall probe. */
  private refresh(exclude: ReadonlySet<Endpoint> | null, nowMs: number): Endpoint | null {
    const { table, offsetMs } = this.env;
    const sharedMs = nowMs + offsetMs;
    this.seenChanges = table.changes;
    this.wakeMs = Infinity;
    let probe: Endpoint | null = null;
    const usable: Endpoint[] = [];
    for (const endpoint of this.endpoints) {
      const { row } = endpoint;
      if (row.health === Health.unhealthy) continue;
      if (row.place === Place.in) {
        usable.push(endpoint);
        continue;
      }
      const due = row.untilMs <= sharedMs;
      const claimed =
        due &&
        probe === null &&
        !exclude?.has(endpoint) &&
        row.claimProbe(sharedMs, sharedMs + PROBE_MS);
      if (claimed) probe = endpoint;
      this.wakeMs = Math.min(this.wakeMs, row.untilMs - offsetMs);
    }
    this.usable = usable;
    return probe;
  }
}
