/** What a worker's plugins count and limit with: the shared memory of the process. */

import { metricTable } from "../proxy/observe/metric-table.ts";
import type { Metrics } from "../proxy/observe/metrics.ts";
import type { SharedState } from "../proxy/observe/shared.ts";
import type { HostSource } from "../proxy/pipeline/host.ts";
import type { Counter } from "../proxy/pipeline/plugin.ts";
import type { Outbox } from "./worker-outbox.ts";

/** The source of every plugin's host in this worker. */
export function createHostSource(
  metrics: Metrics,
  shared: SharedState,
  outbox: Outbox,
): HostSource {
  const durations = new Map<string, number>();
  const add = (name: string, labels: readonly string[], by = 1): void => {
    metrics.values[metrics.series(name, labels)]! += by;
  };
  return {
    log: outbox,
    print: (lines) => outbox.post({ type: "access", lines }),
    now: () => performance.now(),
    wallNow: () => Date.now(),
    random: Math.random,
    limiter: (spec) => shared.limiter(spec),
    gate: (spec) => shared.gate(spec),
    generations: () => shared.generations,
    refused: (route, refusal) => outbox.refused(route, refusal),
    counter: (name, labels) => createCounter(metrics, name, labels),
    storeUp: (store, up) => {
      metrics.values[metrics.series(metricTable.storeUp.name, [store])] = up ? 1 : 0;
      if (!up) add(metricTable.storeErrors.name, [store]);
    },
    pluginError: (plugin) => add(metricTable.pluginErrors.name, [plugin]),
    pluginSeconds: (plugin, seconds) => {
      let slot = durations.get(plugin);
      if (slot === undefined) {
        slot = metrics.series(metricTable.pluginDuration.name, [plugin]);
        durations.set(plugin, slot);
      }
      metrics.observe(slot, seconds);
    },
  };
}

/** A built-in may count one of the table's metrics; a plugin of one's own gets `weft_<name>_total`. */
function createCounter(metrics: Metrics, name: string, labels: readonly string[]): Counter {
  const full = `weft_${name}_total`;
  metrics.define({
    name: full,
    type: "counter",
    help: `Counted by a plugin: ${name}.`,
    labels,
    join: "sum",
  });
  const slots = new Map<string, number>();
  return {
    inc(values = [], by = 1) {
      const key = values.length === 1 ? values[0]! : values.join("\0");
      let slot = slots.get(key);
      if (slot === undefined) {
        slot = metrics.series(full, values);
        // what the label budget has folded into one is looked up again: the map must not grow without end
        if (slots.size < 2000) slots.set(key, slot);
      }
      metrics.values[slot]! += by;
    },
  };
}
