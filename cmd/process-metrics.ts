/** The process's metrics: what workers count in shared memory, joined, and what the main thread counts itself. */

import { Metrics, type SeriesAnnouncement } from "../proxy/observe/metrics.ts";
import { MetricsReader } from "../proxy/observe/metrics-reader.ts";
import { metricTable, type MetricDefinition } from "../proxy/observe/metric-table.ts";
import type { LogSink } from "./log.ts";

const dropped: MetricDefinition = {
  name: "weft_log_lines_dropped_total",
  type: "counter",
  help: "Lines lost because the reader of the log was blocked or gone.",
  labels: ["log"],
  join: "sum",
};

/** The main thread's page among those of the workers. */
const ownPage = "main";

export class ProcessMetrics {
  /** For what the main thread counts. */
  readonly own: Metrics;
  private readonly reader = new MetricsReader();
  private readonly log: LogSink;
  private ends: ReadonlyMap<string, number> = new Map();
  private readonly appliedAtMs: () => number | null;
  /** Called before each scrape, to write gauges. */
  onScrape: () => void = () => {};

  /** @param appliedAtMs when the configuration in effect was applied, milliseconds since 1970; null: none yet */
  constructor(log: LogSink, appliedAtMs: () => number | null) {
    this.log = log;
    this.appliedAtMs = appliedAtMs;
    this.own = new Metrics({
      slots: 1 << 16,
      announce: (series) => this.reader.announce(ownPage, series),
    });
    this.reader.attach(ownPage, this.own.page);
    this.own.define(dropped);
    for (const result of ["applied", "rejected"] as const) this.reloadSlot(result);
  }

  attach(worker: string, page: SharedArrayBuffer): void {
    this.reader.attach(worker, page);
  }

  announce(worker: string, series: SeriesAnnouncement): void {
    this.reader.announce(worker, series);
  }

  retire(worker: string): void {
    this.reader.retire(worker);
  }

  reloaded(result: "applied" | "rejected"): void {
    this.own.values[this.reloadSlot(result)]! += 1;
  }

  restarted(): void {
    this.own.values[this.own.series(metricTable.workerRestarts.name)]! += 1;
  }

  /** Whose expiry is shown from now on: first name of each certificate, and its end in milliseconds since 1970. */
  set certificates(ends: ReadonlyMap<string, number>) {
    for (const name of this.ends.keys()) if (!ends.has(name)) this.setExpiry(name, Number.NaN);
    this.ends = ends;
  }

  /** Prometheus text. */
  render(): string {
    const { own, log } = this;
    const appliedAtMs = this.appliedAtMs();
    if (appliedAtMs !== null) {
      own.values[own.series(metricTable.configAge.name)] = (Date.now() - appliedAtMs) / 1000;
    }
    for (const [name, endMs] of this.ends) this.setExpiry(name, (endMs - Date.now()) / 1000);
    own.values[own.series(dropped.name, ["access"])] = log.dropped.access;
    own.values[own.series(dropped.name, ["app"])] = log.dropped.app;
    this.onScrape();
    return this.reader.render();
  }

  private setExpiry(name: string, seconds: number): void {
    this.own.values[this.own.series(metricTable.certificateExpiry.name, [name])] = seconds;
  }

  private reloadSlot(result: "applied" | "rejected"): number {
    return this.own.series(metricTable.configReload.name, [result]);
  }
}
