/** An endpoint: one address of a service. A live object, one per worker, that outlives snapshots. */

import type { EndpointRow } from "../observe/shared-endpoints.ts";
import { Health, Place } from "../observe/shared-endpoints.ts";
import type { DialTarget } from "../upstream/connect.ts";

/** What the configuration says of an endpoint. */
export interface EndpointSpec {
  /** As written: the metric label and what `/services` shows. */
  readonly address: string;
  /** Relative share; > 0. */
  readonly weight: number;
  readonly target: DialTarget;
}

/** What `/services` says of an endpoint. */
export interface EndpointState {
  readonly address: string;
  /** May be picked now. */
  readonly healthy: boolean;
  /** `unhealthy`: active checks failed; `ejected`: it failed calls and is left alone; `unknown`: no check has ended yet. */
  readonly state: "healthy" | "unhealthy" | "ejected" | "unknown";
  /** Milliseconds since 1970; null: not ejected. */
  readonly ejectedUntilMs: number | null;
}

export class Endpoint {
  readonly service: string;
  readonly address: string;
  readonly host: string;
  readonly port: number;
  /** Where and how to connect. A reload may replace it by one with the same pool identity and newer certificates. */
  target: DialTarget;
  weight: number;
  /** Requests running on it from this worker: whoever picks it adds one, and takes it away when the try is over. */
  active = 0;
  /** The balancer's. */
  balance: unknown = null;
  /** The connection pool's. */
  pool: unknown = null;
  /** A second one: of an app that speaks gRPC besides HTTP/1.1. */
  grpcPool: unknown = null;
  /** Moving average of the time to a response head, whatever the balancer. Milliseconds; 0: none yet. */
  latencyMs = 0;
  /** No longer in the configuration: running tries end, no new one starts. */
  removed = false;
  readonly row: EndpointRow;
  /** Slot of `weft_endpoint_latency_seconds`; -1: not counted. */
  readonly latencySlot: number;

  constructor(service: string, spec: EndpointSpec, row: EndpointRow, latencySlot = -1) {
    this.service = service;
    this.address = spec.address;
    this.host = spec.target.host;
    this.port = spec.target.port;
    this.target = spec.target;
    this.weight = spec.weight;
    this.row = row;
    this.latencySlot = latencySlot;
  }

  /**
   * @param checked the service has active health checks
   * @param epochMs what to add to the shared clock for milliseconds since 1970
   */
  state(checked: boolean, epochMs: number): EndpointState {
    const { address, row } = this;
    if (row.place !== Place.in)
      return { address, healthy: false, state: "ejected", ejectedUntilMs: row.untilMs + epochMs };
    if (row.health === Health.unhealthy)
      return { address, healthy: false, state: "unhealthy", ejectedUntilMs: null };
    const state = checked && row.health === Health.unknown ? "unknown" : "healthy";
    return { address, healthy: true, state, ejectedUntilMs: null };
  }
}
