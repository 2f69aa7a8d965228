/** Counting in a worker, joining in the main thread, and the Prometheus text. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  bucketBounds,
  metricDefinitions,
  metricTable,
} from "../../../proxy/observe/metric-table.ts";
import { MetricsReader } from "../../../proxy/observe/metrics-reader.ts";
import { Metrics, type MetricsOptions } from "../../../proxy/observe/metrics.ts";

/** A worker attached to a reader, as over a message channel: announcements are cloned. */
function worker(reader: MetricsReader, id: number, options: Partial<MetricsOptions> = {}): Metrics {
  const metrics = new Metrics({
    announce: (message) => reader.announce(id, structuredClone(message)),
    slots: 8192,
    ...options,
  });
  reader.attach(id, metrics.page);
  return metrics;
}

function add(metrics: Metrics, name: string, labels: readonly string[], by = 1): void {
  metrics.values[metrics.series(name, labels)]! += by;
}

const requests = metricTable.requests.name;
const labels = ["gateway", "web", "orders", "orders", "GET", "200", ""];
const lineOf = (reader: MetricsReader, start: string): string | undefined =>
  reader
    .render()
    .split("\n")
    .find((line) => line.startsWith(start));

describe("names", () => {
  test("the table has every metric of the contract with its labels", () => {
    const names = metricDefinitions.map(({ name, labels: own }) => `${name}{${own.join(",")}}`);
    for (const expected of [
      "weft_requests_total{mode,listener,route,service,method,status,code}",
      "weft_connections{side}",
      "weft_attempts_total{service,endpoint,result}",
      "weft_retries_total{service,reason}",
      "weft_retries_denied_total{service,reason}",
      "weft_endpoint_healthy{service,endpoint}",
      "weft_rate_limited_total{route,policy}",
      "weft_plugin_duration_seconds{plugin}",
      "weft_plugin_errors_total{plugin}",
      "weft_config_reload_total{result}",
      "weft_config_age_seconds{}",
      "weft_certificate_expiry_seconds{name}",
      "weft_access_total{rule,decision,source,destination}",
      "weft_event_loop_delay_seconds{}",
      "weft_worker_restarts_total{}",
      "weft_store_up{store}",
      "weft_store_errors_total{store}",
      "weft_peers_refused_total{reason}",
    ]) {
      assert.ok(names.includes(expected), expected);
    }
    for (const name of [
      "weft_request_duration_seconds",
      "weft_request_bytes_total",
      "weft_response_bytes_total",
      "weft_active_requests",
      "weft_endpoint_latency_seconds",
      "weft_ejections_total",
      "weft_breaker_open",
    ]) {
      assert.ok(
        names.some((one) => one.startsWith(`${name}{`)),
        name,
      );
    }
  });

  test("counters end in _total and names are unique", () => {
    for (const { name, type } of metricDefinitions)
      assert.equal(name.endsWith("_total"), type === "counter", name);
    assert.equal(new Set(metricDefinitions.map(({ name }) => name)).size, metricDefinitions.length);
  });

  test("an unknown name or a wrong number of labels throws at once", () => {
    const metrics = worker(new MetricsReader(), 1);
    assert.throws(() => metrics.series("weft_nothing_total"), /not defined/);
    assert.throws(() => metrics.series(requests, ["x"]), /labels/);
  });
});

describe("joining", () => {
  test("counters are summed over workers", () => {
    const reader = new MetricsReader();
    add(worker(reader, 1), requests, labels, 2);
    add(worker(reader, 2), requests, labels, 3);
    assert.equal(reader.total(requests), 5);
    assert.equal(reader.total(requests, { status: "200", route: "orders" }), 5);
    assert.equal(reader.total(requests, { status: "500" }), 0);
  });

  test("what a dead worker counted stays, also when its successor dies", () => {
    const reader = new MetricsReader();
    add(worker(reader, 1), requests, labels, 2);
    reader.retire(1);
    add(worker(reader, 1), requests, labels, 3);
    reader.retire(1);
    reader.retire(1);
    assert.equal(reader.total(requests), 5);
  });

  test("the gauges of a dead worker go", () => {
    const reader = new MetricsReader();
    const name = metricTable.activeRequests.name;
    add(worker(reader, 1), name, ["gateway"], 7);
    add(worker(reader, 2), name, ["gateway"], 1);
    assert.equal(reader.total(name), 8);
    reader.retire(1);
    assert.equal(reader.total(name), 1);
    reader.retire(2);
    assert.equal(lineOf(reader, `${name}{`), undefined);
  });

  test("gauges are joined as the table says", () => {
    const reader = new MetricsReader();
    const [one, two] = [worker(reader, 1), worker(reader, 2)];
    for (const [metric, a, b, joined] of [
      ["eventLoopDelay", 0.5, 0.25, 0.5],
      ["storeUp", 1, 0, 0],
      ["endpointLatency", 1, 3, 2],
      ["connections", 4, 5, 9],
    ] as const) {
      const { name, labels: own } = metricTable[metric];
      const values = own.map(() => "x");
      add(one, name, values, a);
      add(two, name, values, b);
      assert.equal(reader.total(name), joined, name);
    }
  });

  test("a gauge of something that is gone is not a number and is not shown", () => {
    const reader = new MetricsReader();
    const metrics = worker(reader, 1);
    const { name } = metricTable.endpointHealthy;
    add(metrics, name, ["orders", "a:1"], NaN);
    assert.equal(lineOf(reader, `${name}{`), undefined);
  });

  test("a series is announced once", () => {
    let announced = 0;
    const metrics = new Metrics({ announce: () => announced++, slots: 1024 });
    for (let i = 0; i < 3; i++) metrics.series(requests, labels);
    assert.equal(announced, 1);
  });
});

describe("the label budget", () => {
  test("routes over the budget count as __other__ and keep their status", () => {
    const reader = new MetricsReader();
    const metrics = worker(reader, 1, { seriesPerMetric: 3 });
    for (let i = 0; i < 50; i++)
      add(metrics, requests, ["gateway", "web", `r${i}`, "s", "GET", i % 2 ? "200" : "503", ""]);
    assert.equal(reader.total(requests), 50);
    assert.equal(reader.total(requests, { route: "__other__" }), 47);
    assert.equal(reader.total(requests, { route: "__other__", status: "503" }), 23);
  });

  test("statuses that a hostile service makes up end as __other__ too", () => {
    const reader = new MetricsReader();
    const metrics = worker(reader, 1, { seriesPerMetric: 3 });
    for (let i = 0; i < 900; i++)
      add(metrics, requests, ["gateway", "web", "r", "s", "GET", String(100 + i), ""]);
    assert.equal(reader.total(requests), 900);
    const family = reader.read().find(({ definition }) => definition.name === requests)!;
    assert.ok(family.samples.length <= 3 + 200 + 1, `${family.samples.length} series`);
  });

  test("a full page counts into nowhere instead of failing", () => {
    const metrics = new Metrics({ announce() {}, slots: 64 });
    for (let i = 0; i < 200; i++)
      add(metrics, requests, ["gateway", "web", `r${i}`, "s", "GET", "200", ""]);
    assert.equal(metrics.series(requests, ["gateway", "web", "new", "s", "GET", "200", ""]), 0);
  });
});

describe("the text", () => {
  test("every family has HELP and TYPE, and a line without labels has no braces", () => {
    const reader = new MetricsReader();
    const text = reader.render();
    for (const { name, type } of metricDefinitions) {
      assert.ok(text.includes(`# HELP ${name} `), name);
      assert.ok(text.includes(`# TYPE ${name} ${type}\n`), name);
    }
    assert.ok(text.includes("\nweft_worker_restarts_total 0\n"));
    assert.ok(text.endsWith("\n"));
  });

  test("label values are escaped", () => {
    const reader = new MetricsReader();
    add(worker(reader, 1), metricTable.storeErrors.name, ['a"b\\c\nd']);
    assert.equal(
      lineOf(reader, "weft_store_errors_total{"),
      String.raw`weft_store_errors_total{store="a\"b\\c\nd"} 1`,
    );
  });

  test("labels stand in the order of the contract", () => {
    const reader = new MetricsReader();
    add(worker(reader, 1), requests, labels);
    assert.equal(
      lineOf(reader, `${requests}{`),
      `${requests}{mode="gateway",listener="web",route="orders",service="orders",method="GET",status="200",code=""} 1`,
    );
  });

  test("a histogram is cumulative, ends with +Inf and agrees with its count", () => {
    const reader = new MetricsReader();
    const { name } = metricTable.pluginDuration;
    for (const id of [1, 2]) {
      const metrics = worker(reader, id);
      const slot = metrics.series(name, ["jwt"]);
      for (const seconds of [0, 0.001, 0.0011, 0.3, 60, 61]) metrics.observe(slot, seconds);
    }
    reader.retire(2);
    const lines = reader
      .render()
      .split("\n")
      .filter((line) => line.startsWith(`${name}_`));
    const bucket = (le: string): number =>
      Number(lines.find((line) => line.includes(`le="${le}"`))!.split(" ")[1]);
    assert.equal(bucket("0.001"), 4);
    assert.equal(bucket("0.0025"), 6);
    assert.equal(bucket("0.25"), 6);
    assert.equal(bucket("0.5"), 8);
    assert.equal(bucket("60"), 10);
    assert.equal(bucket("+Inf"), 12);
    assert.equal(lines.length, bucketBounds.length + 3);
    assert.ok(lines.includes(`${name}_count{plugin="jwt"} 12`));
    const sum = Number(lines.find((line) => line.startsWith(`${name}_sum`))!.split(" ")[1]);
    assert.ok(Math.abs(sum - 2 * 121.3021) < 1e-9);
  });

  test("a plugin's own counter is shown with its labels", () => {
    const reader = new MetricsReader();
    const metrics = worker(reader, 1);
    metrics.define({
      name: "weft_tenant_hits_total",
      type: "counter",
      help: "Hits.",
      labels: ["tenant"],
      join: "sum",
    });
    add(metrics, "weft_tenant_hits_total", ["acme"]);
    assert.equal(
      lineOf(reader, "weft_tenant_hits_total{"),
      'weft_tenant_hits_total{tenant="acme"} 1',
    );
    assert.ok(reader.render().includes("# TYPE weft_tenant_hits_total counter\n"));
  });

  test("every line is one that Prometheus can read", () => {
    const reader = new MetricsReader();
    const metrics = worker(reader, 1);
    add(metrics, requests, labels, 1.5);
    metrics.observe(metrics.series(metricTable.requestDuration.name, labels.slice(0, 4)), 2);
    for (const line of reader.render().trimEnd().split("\n")) {
      assert.match(
        line,
        /^(# HELP \w+ .+|# TYPE \w+ (counter|gauge|histogram)|\w+(\{(\w+="([^"\\\n]|\\["\\n])*",?)+\})? (\d+(\.\d+)?(e[+-]\d+)?|[+-]Inf))$/,
      );
    }
  });
});
