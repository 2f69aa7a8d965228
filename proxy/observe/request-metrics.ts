/** Counting on the hot path: slots are found once per kind of exchange and kept, so that counting allocates nothing. */

import { errorCodes, type ErrorCode } from "../errors.ts";
import type { Mode } from "../pipeline/plugin.ts";
import { metricTable, otherLabel } from "./metric-table.ts";
import type { Metrics } from "./metrics.ts";

/** RFC 9110 methods, PATCH (RFC 5789) and QUERY; any other is a stranger's text and counts as `__other__`. */
const methods = [
  "GET",
  "POST",
  "HEAD",
  "PUT",
  "DELETE",
  "PATCH",
  "OPTIONS",
  "CONNECT",
  "TRACE",
  "QUERY",
] as const;
const methodIndex = new Map<string, number>(methods.map((method, i) => [method, i + 1]));
const codeIndex = new Map<string, number>(errorCodes.map((code, i) => [code, i + 1]));

/** The series of exchanges of one listener, route and service. */
export class RequestSeries {
  private readonly metrics: Metrics;
  private readonly labels: readonly string[];
  private readonly durationSlot: number;
  private readonly requestBytesSlot: number;
  private readonly responseBytesSlot: number;
  /** Slot of `weft_requests_total` by method, status and code packed into one small integer. */
  private readonly slots = new Map<number, number>();
  private lastKey = -1;
  private lastSlot = 0;

  constructor(metrics: Metrics, labels: readonly string[]) {
    this.metrics = metrics;
    this.labels = labels;
    this.durationSlot = metrics.series(metricTable.requestDuration.name, labels);
    this.requestBytesSlot = metrics.series(metricTable.requestBytes.name, labels);
    this.responseBytesSlot = metrics.series(metricTable.responseBytes.name, labels);
  }

  /** Counts one exchange that has ended. `status` 0: no answer was sent. */
  count(
    method: string,
    status: number,
    code: ErrorCode | null,
    durationMs: number,
    requestBytes: number,
    responseBytes: number,
  ): void {
    const m = method === "GET" ? 1 : (methodIndex.get(method) ?? 0);
    const c = code === null ? 0 : codeIndex.get(code)!;
    const key = (((m << 10) | (status & 1023)) << 6) | c;
    const slot = key === this.lastKey ? this.lastSlot : this.slot(key, m, status, code);
    const values = this.metrics.values;
    values[slot]! += 1;
    if (requestBytes > 0) values[this.requestBytesSlot]! += requestBytes;
    if (responseBytes > 0) values[this.responseBytesSlot]! += responseBytes;
    this.metrics.observe(this.durationSlot, durationMs / 1000);
  }

  addBytes(received: number, sent: number): void {
    this.metrics.values[this.requestBytesSlot]! += received;
    this.metrics.values[this.responseBytesSlot]! += sent;
  }

  private slot(key: number, m: number, status: number, code: ErrorCode | null): number {
    let slot = this.slots.get(key);
    if (slot === undefined) {
      const method = m === 0 ? otherLabel : methods[m - 1]!;
      slot = this.metrics.series(metricTable.requests.name, [
        ...this.labels,
        method,
        String(status),
        code ?? "",
      ]);
      this.slots.set(key, slot);
    }
    this.lastKey = key;
    this.lastSlot = slot;
    return slot;
  }
}

/** A two-level cache of slots: service, then endpoint, reason or result. */
type Pairs = Map<string, Map<string, number>>;

/** What a plane of a worker counts about its exchanges, attempts and connections. */
export class ServiceMetrics {
  readonly metrics: Metrics;
  private readonly mode: Mode;
  private readonly scopes = new Map<string, Map<string, Map<string, RequestSeries>>>();
  private readonly attemptSlots = new Map<string, Map<string, Map<string, number>>>();
  private readonly retrySlots: Pairs = new Map();
  private readonly deniedSlots: Pairs = new Map();
  private readonly activeSlot: number;
  private readonly downstreamSlot: number;
  private readonly upstreamSlot: number;

  constructor(metrics: Metrics, mode: Mode) {
    this.metrics = metrics;
    this.mode = mode;
    this.activeSlot = metrics.series(metricTable.activeRequests.name, [mode]);
    this.downstreamSlot = metrics.series(metricTable.connections.name, ["downstream"]);
    this.upstreamSlot = metrics.series(metricTable.connections.name, ["upstream"]);
  }

  /** An exchange has ended. An unknown route or a missing service is the empty text. */
  request(
    listener: string,
    route: string | null,
    service: string | null,
    method: string,
    status: number,
    code: ErrorCode | null,
    durationMs: number,
    requestBytes: number,
    responseBytes: number,
  ): void {
    const series = this.scope(listener, route ?? "", service ?? "");
    series.count(method, status, code, durationMs, requestBytes, responseBytes);
  }

  /** The series for one listener, route and service: a caller that keeps it saves three look-ups an exchange. */
  scope(listener: string, route: string, service: string): RequestSeries {
    const routes = this.scopes.get(listener);
    const series = routes?.get(route)?.get(service);
    return series ?? this.addScope(listener, route, service);
  }

  /** Bytes of a connection that carried no HTTP. */
  bytes(listener: string, route: string, service: string, received: number, sent: number): void {
    this.scope(listener, route, service).addBytes(received, sent);
  }

  /** A connection that carried no HTTP has ended; `end` says how. Once per connection: a look-up by text is cheap enough. */
  tunnel(listener: string, service: string, end: string, durationMs: number): void {
    const { metrics } = this;
    metrics.values[metrics.series(metricTable.tcpConnections.name, [listener, service, end])]! += 1;
    metrics.observe(
      metrics.series(metricTable.tcpDuration.name, [listener, service]),
      durationMs / 1000,
    );
  }

  /** A try at an endpoint has ended. `result`: a status class (`2xx`) or an error code. */
  attempt(service: string, endpoint: string, result: string): void {
    const slot =
      this.attemptSlots.get(service)?.get(endpoint)?.get(result) ??
      this.addAttempt(service, endpoint, result);
    this.metrics.values[slot]! += 1;
  }

  /** A further try is made; `reason` is what failed: `connect-failure`, `503` ... */
  retry(service: string, reason: string): void {
    this.pair(this.retrySlots, metricTable.retries.name, service, reason);
  }

  /** A further try was wanted and forbidden; `reason` is the rule: `budget`, `not-idempotent` ... */
  retryDenied(service: string, reason: string): void {
    this.pair(this.deniedSlots, metricTable.retriesDenied.name, service, reason);
  }

  active(delta: number): void {
    this.metrics.values[this.activeSlot]! += delta;
  }

  connection(side: "downstream" | "upstream", delta: number): void {
    this.metrics.values[side === "downstream" ? this.downstreamSlot : this.upstreamSlot]! += delta;
  }

  /** The other end of an HTTP/2 connection broke the protocol, or flooded it; `error` is the name of RFC 9113 section 7. */
  protocolError(side: "downstream" | "upstream", error: string): void {
    this.metrics.values[this.metrics.series(metricTable.protocolErrors.name, [side, error])]! += 1;
  }

  /** Counts a decision of the access rules: rare enough, or cheap enough beside mTLS, for a look-up by text. */
  access(rule: string, decision: string, source: string, destination: string): void {
    this.metrics.values[
      this.metrics.series(metricTable.access.name, [rule, decision, source, destination])
    ]! += 1;
  }

  private pair(pairs: Pairs, metric: string, service: string, reason: string): void {
    let slot = pairs.get(service)?.get(reason);
    if (slot === undefined) {
      slot = this.metrics.series(metric, [service, reason]);
      entry(pairs, service).set(reason, slot);
    }
    this.metrics.values[slot]! += 1;
  }

  private addScope(listener: string, route: string, service: string): RequestSeries {
    let routes = this.scopes.get(listener);
    if (routes === undefined) this.scopes.set(listener, (routes = new Map()));
    const series = new RequestSeries(this.metrics, [this.mode, listener, route, service]);
    entry(routes, route).set(service, series);
    return series;
  }

  private addAttempt(service: string, endpoint: string, result: string): number {
    let endpoints = this.attemptSlots.get(service);
    if (endpoints === undefined) this.attemptSlots.set(service, (endpoints = new Map()));
    const slot = this.metrics.series(metricTable.attempts.name, [service, endpoint, result]);
    entry(endpoints, endpoint).set(result, slot);
    return slot;
  }
}

function entry<V>(maps: Map<string, Map<string, V>>, key: string): Map<string, V> {
  let inner = maps.get(key);
  if (inner === undefined) maps.set(key, (inner = new Map()));
  return inner;
}
