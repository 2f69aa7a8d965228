/** The worker's side of metrics: one page of shared memory with one writer, where counting is an addition to a number. */

import {
  bucketBounds,
  closedLabels,
  histogramSlots,
  metricDefinitions,
  otherLabel,
  type MetricDefinition,
} from "./metric-table.ts";

/** Tells the reader what a slot of a page means. Structured-cloneable. */
export interface SeriesAnnouncement {
  readonly metric: MetricDefinition;
  readonly labels: readonly string[];
  readonly slot: number;
}

export interface MetricsOptions {
  /** Called once per new series, before its first count. Posted to the main thread. */
  readonly announce: (announcement: SeriesAnnouncement) => void;
  /** Numbers in the page. Default 262144 (2 MiB; untouched memory is never resident). */
  readonly slots?: number;
  /** Series per metric with all their labels. Default 2000; what is over it is `__other__`. */
  readonly seriesPerMetric?: number;
}

/** Series beyond the budget that keep their closed labels (method, status ...) before those go as well. */
const OTHER_SERIES = 200;

interface Family {
  readonly definition: MetricDefinition;
  readonly slots: Map<string, number>;
}

/**
 * One per thread. `values[slot]` is public on purpose: counting is `metrics.values[slot]! += 1`, with the slot kept by
 * the caller. Other threads read the page at any time: an aligned 64-bit store is never seen half-written.
 */
export class Metrics {
  /** To hand to the reader. */
  readonly page: SharedArrayBuffer;
  readonly values: Float64Array;
  private readonly families = new Map<string, Family>();
  private readonly announce: (announcement: SeriesAnnouncement) => void;
  private readonly seriesPerMetric: number;
  /** Slots below this take what found no room at all: counted, never shown. */
  private next = histogramSlots;

  constructor(options: MetricsOptions) {
    this.page = new SharedArrayBuffer((options.slots ?? 1 << 18) * 8);
    this.values = new Float64Array(this.page);
    this.announce = options.announce;
    this.seriesPerMetric = options.seriesPerMetric ?? 2000;
    for (const definition of metricDefinitions) this.define(definition);
  }

  /** Adds a metric (a plugin's counter). Defining the same name twice is fine; the first definition holds. */
  define(definition: MetricDefinition): void {
    if (this.families.has(definition.name)) return;
    this.families.set(definition.name, { definition, slots: new Map() });
  }

  /**
   * The slot of a series; made and announced on first use. Slow (builds a text): keep the number.
   * @param name full Prometheus name; an unknown one throws
   * @param labelValues in the order of the definition
   */
  series(name: string, labelValues: readonly string[] = []): number {
    const family = this.families.get(name);
    if (family === undefined) throw new Error(`metric ${name} is not defined`);
    const { definition, slots } = family;
    if (labelValues.length !== definition.labels.length) {
      throw new Error(
        `metric ${name} has the labels ${definition.labels.join(", ")}: got ${labelValues.length} values`,
      );
    }
    const known = slots.get(labelValues.join("\0"));
    if (known !== undefined) return known;
    if (slots.size < this.seriesPerMetric) return this.add(family, labelValues);
    const partly = definition.labels.map((label, i) =>
      closedLabels.has(label) ? labelValues[i]! : otherLabel,
    );
    const found = slots.get(partly.join("\0"));
    if (found !== undefined) return found;
    if (slots.size < this.seriesPerMetric + OTHER_SERIES) return this.add(family, partly);
    const wholly = definition.labels.map(() => otherLabel);
    return slots.get(wholly.join("\0")) ?? this.add(family, wholly);
  }

  /** Counts one observation of a histogram. */
  observe(slot: number, seconds: number): void {
    const values = this.values;
    values[slot]! += seconds;
    let bucket = 0;
    while (bucket < bucketBounds.length && seconds > bucketBounds[bucket]!) bucket++;
    values[slot + 1 + bucket]! += 1;
  }

  private add(family: Family, labels: readonly string[]): number {
    const { definition, slots } = family;
    const size = definition.type === "histogram" ? histogramSlots : 1;
    if (this.next + size > this.values.length) return 0;
    const slot = this.next;
    this.next += size;
    slots.set(labels.join("\0"), slot);
    this.announce({ metric: definition, labels: [...labels], slot });
    return slot;
  }
}
