/** The one table of metrics: name, type, labels, help and how the values of several worker threads become one. */

export type MetricType = "counter" | "gauge" | "histogram";

export interface MetricDefinition {
  readonly name: string;
  readonly type: MetricType;
  readonly help: string;
  readonly labels: readonly string[];
  /** Gauges: how the workers' values are joined. Counters and histograms are always summed. */
  readonly join: "sum" | "max" | "min" | "mean";
}

/** Value of a label that went over the budget of its metric. */
export const otherLabel = "__other__";

/** Upper bounds in seconds, 1 ms to 60 s; the bucket above the last is `+Inf`. */
export const bucketBounds: readonly number[] = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
];

/** Slots that one histogram takes in a page: the sum, then one per bucket, `+Inf` last. */
export const histogramSlots = bucketBounds.length + 2;

/**
 * Labels whose values come from a closed set or from the protocol. They survive the first step of the label budget;
 * all others (routes, endpoints, peers ...) come from configuration or from strangers.
 */
export const closedLabels: ReadonlySet<string> = new Set([
  "mode",
  "method",
  "status",
  "code",
  "side",
  "result",
  "reason",
  "decision",
  "error",
]);

const counter = (name: string, labels: readonly string[], help: string): MetricDefinition => ({
  name,
  type: "counter",
  help,
  labels,
  join: "sum",
});
const gauge = (
  name: string,
  labels: readonly string[],
  join: MetricDefinition["join"],
  help: string,
): MetricDefinition => ({ name, type: "gauge", help, labels, join });
const histogram = (name: string, labels: readonly string[], help: string): MetricDefinition => ({
  name,
  type: "histogram",
  help,
  labels,
  join: "sum",
});

const exchange = ["mode", "listener", "route", "service"] as const;
const place = ["service", "endpoint"] as const;

/** Every metric of weft itself, in the order of the scrape. Plugins add `weft_<name>_total` of their own. */
export const metricTable = {
  requests: counter(
    "weft_requests_total",
    [...exchange, "method", "status", "code"],
    "Exchanges ended, by status; code is the cause when weft answered itself.",
  ),
  requestDuration: histogram(
    "weft_request_duration_seconds",
    exchange,
    "Time from the complete request head to the end of the exchange.",
  ),
  requestBytes: counter("weft_request_bytes_total", exchange, "Request body bytes received."),
  responseBytes: counter("weft_response_bytes_total", exchange, "Response body bytes sent."),
  activeRequests: gauge("weft_active_requests", ["mode"], "sum", "Exchanges running now."),
  connections: gauge(
    "weft_connections",
    ["side"],
    "sum",
    "Open connections: downstream to callers, upstream to endpoints.",
  ),
  attempts: counter(
    "weft_attempts_total",
    [...place, "result"],
    "Tries at an endpoint: requests, retries and hedges.",
  ),
  retries: counter(
    "weft_retries_total",
    ["service", "reason"],
    "Tries beyond the first, by what made them necessary.",
  ),
  retriesDenied: counter(
    "weft_retries_denied_total",
    ["service", "reason"],
    "Retries that were wanted and not made, by the rule that forbade them.",
  ),
  tcpConnections: counter(
    "weft_tcp_connections_total",
    ["listener", "service", "end"],
    "Connections ended that carried no HTTP, by who ended them.",
  ),
  tcpDuration: histogram(
    "weft_tcp_connection_duration_seconds",
    ["listener", "service"],
    "Time from the acceptance to the end of such a connection.",
  ),
  endpointHealthy: gauge(
    "weft_endpoint_healthy",
    place,
    "min",
    "1: usable; 0: unhealthy or ejected.",
  ),
  endpointLatency: gauge(
    "weft_endpoint_latency_seconds",
    place,
    "mean",
    "Moving average of the time to a response head, decay 10 s.",
  ),
  ejections: counter("weft_ejections_total", place, "Times an endpoint was ejected for failing."),
  breakerOpen: gauge(
    "weft_breaker_open",
    ["service"],
    "max",
    "1: the circuit breaker refuses requests.",
  ),
  rateLimited: counter(
    "weft_rate_limited_total",
    ["route", "policy"],
    "Exchanges refused by a rate limit.",
  ),
  pluginDuration: histogram(
    "weft_plugin_duration_seconds",
    ["plugin"],
    "Time of a request or response hook, its waiting included; the first call is timed, then one in 61.",
  ),
  pluginErrors: counter("weft_plugin_errors_total", ["plugin"], "Hooks that threw or timed out."),
  configReload: counter(
    "weft_config_reload_total",
    ["result"],
    "Configurations applied or rejected.",
  ),
  configAge: gauge(
    "weft_config_age_seconds",
    [],
    "max",
    "Seconds since the configuration in effect was applied.",
  ),
  certificateExpiry: gauge(
    "weft_certificate_expiry_seconds",
    ["name"],
    "min",
    "Seconds until a certificate ends; negative: expired.",
  ),
  access: counter(
    "weft_access_total",
    ["rule", "decision", "source", "destination"],
    "Decisions of the access rules, shadow rules included.",
  ),
  eventLoopDelay: gauge(
    "weft_event_loop_delay_seconds",
    [],
    "max",
    "99th percentile of the slowest worker thread.",
  ),
  shedding: gauge(
    "weft_shedding",
    [],
    "max",
    "1: a worker is short of memory and refuses new requests.",
  ),
  turnedAway: counter(
    "weft_connections_turned_away_total",
    ["listener"],
    "Connections closed at once: more than limits.connections, or than descriptors carry.",
  ),
  workerRestarts: counter(
    "weft_worker_restarts_total",
    [],
    "Worker threads that died and were started again.",
  ),
  storeUp: gauge("weft_store_up", ["store"], "min", "1: the store answers; 0: local fallback."),
  storeErrors: counter("weft_store_errors_total", ["store"], "Failed calls to a store."),
  peersRefused: counter(
    "weft_peers_refused_total",
    ["reason"],
    "Connections refused for who the peer is, or is not.",
  ),
  protocolErrors: counter(
    "weft_protocol_errors_total",
    ["side", "error"],
    "Streams reset and connections closed because the other end broke HTTP/2, by error code.",
  ),
} as const satisfies Record<string, MetricDefinition>;

/** Names of {@link metricTable}: what callers of `Metrics.series` pass. */
export type MetricKey = keyof typeof metricTable;

/** All definitions, in the table's order. */
export const metricDefinitions: readonly MetricDefinition[] = Object.values(metricTable);
