/** The main thread's side of metrics: joins the pages of all workers, living and dead, and writes the Prometheus text. */

import {
  bucketBounds,
  histogramSlots,
  metricDefinitions,
  type MetricDefinition,
} from "./metric-table.ts";
import type { SeriesAnnouncement } from "./metrics.ts";

/** One series, joined over the workers. */
export interface Sample {
  readonly labels: readonly string[];
  /** Counter or gauge. For a histogram the number of observations. */
  readonly value: number;
  /** Histograms: the sum of all observations, and the observations per bucket (not cumulative, `+Inf` last). */
  readonly sum: number;
  readonly buckets: readonly number[] | null;
}

export interface MetricFamily {
  readonly definition: MetricDefinition;
  readonly samples: readonly Sample[];
}

interface Series {
  readonly labels: readonly string[];
  /** Slot per worker. */
  readonly slots: Map<string, number>;
  /** What dead workers counted; same layout as the page. */
  readonly kept: Float64Array;
}

interface Family {
  readonly definition: MetricDefinition;
  readonly series: Map<string, Series>;
}

export class MetricsReader {
  private readonly pages = new Map<string, Float64Array>();
  private readonly families = new Map<string, Family>();

  constructor() {
    for (const definition of metricDefinitions)
      this.families.set(definition.name, { definition, series: new Map() });
  }

  /** A worker has started; `workerId` must differ from that of every living one. */
  attach(workerId: string | number, page: SharedArrayBuffer): void {
    this.pages.set(String(workerId), new Float64Array(page));
  }

  /** A worker has made a series. */
  announce(workerId: string | number, { metric, labels, slot }: SeriesAnnouncement): void {
    let family = this.families.get(metric.name);
    if (family === undefined)
      this.families.set(metric.name, (family = { definition: metric, series: new Map() }));
    const key = labels.join("\0");
    let series = family.series.get(key);
    if (series === undefined) {
      const size = metric.type === "histogram" ? histogramSlots : 1;
      family.series.set(key, (series = { labels, slots: new Map(), kept: new Float64Array(size) }));
    }
    series.slots.set(String(workerId), slot);
  }

  /** A worker is gone: what it counted stays, its gauges go. */
  retire(workerId: string | number): void {
    const id = String(workerId);
    const page = this.pages.get(id);
    for (const { definition, series } of this.families.values()) {
      for (const [key, one] of series) {
        const slot = one.slots.get(id);
        if (slot === undefined) continue;
        one.slots.delete(id);
        if (definition.type !== "gauge") {
          if (page !== undefined)
            for (let i = 0; i < one.kept.length; i++) one.kept[i]! += page[slot + i]!;
        } else if (one.slots.size === 0) series.delete(key);
      }
    }
    this.pages.delete(id);
  }

  /** Everything, for the admin API and the dashboard. */
  read(): MetricFamily[] {
    const families: MetricFamily[] = [];
    for (const { definition, series } of this.families.values()) {
      const samples: Sample[] = [];
      for (const one of series.values()) {
        const sample = this.sample(definition, one);
        if (sample !== null) samples.push(sample);
      }
      if (
        samples.length === 0 &&
        definition.labels.length === 0 &&
        definition.type !== "histogram"
      ) {
        samples.push({ labels: [], value: 0, sum: 0, buckets: null });
      }
      families.push({ definition, samples });
    }
    return families;
  }

  /** Sum of a counter or gauge over all series whose labels are as given; for the admin API. */
  total(name: string, labels: Readonly<Record<string, string>> = {}): number {
    const family = this.families.get(name);
    if (family === undefined) return 0;
    let total = 0;
    for (const one of family.series.values()) {
      const fits = family.definition.labels.every(
        (label, i) => labels[label] === undefined || labels[label] === one.labels[i],
      );
      if (fits) total += this.sample(family.definition, one)?.value ?? 0;
    }
    return total;
  }

  /** Prometheus text exposition format 0.0.4; content type `text/plain; version=0.0.4; charset=utf-8`. */
  render(): string {
    const lines: string[] = [];
    for (const { definition, samples } of this.read()) {
      lines.push(
        `# HELP ${definition.name} ${escapeHelp(definition.help)}`,
        `# TYPE ${definition.name} ${definition.type}`,
      );
      for (const sample of samples) {
        const labels = definition.labels.map(
          (label, i) => `${label}="${escapeLabel(sample.labels[i]!)}"`,
        );
        if (sample.buckets === null)
          lines.push(`${definition.name}${braces(labels)} ${formatNumber(sample.value)}`);
        else renderHistogram(lines, definition.name, labels, sample);
      }
    }
    lines.push("");
    return lines.join("\n");
  }

  private sample(definition: MetricDefinition, series: Series): Sample | null {
    if (definition.type === "gauge") return this.gauge(definition, series);
    const totals = Float64Array.from(series.kept);
    for (const [id, slot] of series.slots) {
      const page = this.pages.get(id);
      if (page !== undefined) for (let i = 0; i < totals.length; i++) totals[i]! += page[slot + i]!;
    }
    if (definition.type === "counter")
      return { labels: series.labels, value: totals[0]!, sum: 0, buckets: null };
    const buckets = [...totals.subarray(1)];
    const count = buckets.reduce((sum, bucket) => sum + bucket, 0);
    return { labels: series.labels, value: count, sum: totals[0]!, buckets };
  }

  private gauge(definition: MetricDefinition, series: Series): Sample | null {
    let value = 0;
    let count = 0;
    for (const [id, slot] of series.slots) {
      const page = this.pages.get(id);
      if (page === undefined) continue;
      const own = page[slot]!;
      // a gauge of something that is no more
      if (Number.isNaN(own)) continue;
      if (count === 0) value = own;
      else if (definition.join === "max") value = Math.max(value, own);
      else if (definition.join === "min") value = Math.min(value, own);
      else value += own;
      count++;
    }
    if (count === 0) return null;
    return {
      labels: series.labels,
      value: definition.join === "mean" ? value / count : value,
      sum: 0,
      buckets: null,
    };
  }
}

function renderHistogram(
  lines: string[],
  name: string,
  labels: readonly string[],
  sample: Sample,
): void {
  let cumulative = 0;
  sample.buckets!.forEach((count, i) => {
    cumulative += count;
    const bound = i < bucketBounds.length ? formatNumber(bucketBounds[i]!) : "+Inf";
    lines.push(`${name}_bucket${braces([...labels, `le="${bound}"`])} ${formatNumber(cumulative)}`);
  });
  lines.push(`${name}_sum${braces(labels)} ${formatNumber(sample.sum)}`);
  lines.push(`${name}_count${braces(labels)} ${formatNumber(sample.value)}`);
}

function braces(labels: readonly string[]): string {
  return labels.length === 0 ? "" : `{${labels.join(",")}}`;
}

function formatNumber(value: number): string {
  if (value === Infinity) return "+Inf";
  if (value === -Infinity) return "-Inf";
  return String(value);
}

function escapeLabel(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}

function escapeHelp(help: string): string {
  return help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}
