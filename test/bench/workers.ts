/** What a second worker thread adds, by CPU accounting: the load needs a core of its own and there may be only two. */

import { enterAll, leave, type Case, type Entrant } from "./bench.ts";
import { load } from "./load.ts";
import { figure, median, type CaseResult } from "./report.ts";

/**
 * With a core for each worker, throughput ends where the busiest worker's core is full. So a configuration's capacity is
 * one second over the CPU that its busiest worker spends for each request of all; the process's other threads (main
 * thread, collectors of garbage) are shared out evenly.
 */
interface Sample {
  readonly cpuUs: number;
  /** Of the workers' CPU time, what the busiest has spent. */
  readonly busiest: number;
  readonly errors: number;
}

const title = "two workers and one, on any core: capacity by CPU accounting";

export const workersCase: Case = {
  name: "workers",
  title,
  run: async (bench): Promise<CaseResult> => {
    const { entrants, missing } = await enterAll(
      bench,
      [1, 2].map((workers) => ({
        label: workers === 1 ? "1 worker" : "2 workers",
        peer: "weft",
        task: { workers, core: null },
      })),
    );
    const measure = async (entrant: Entrant, seconds: number): Promise<Sample> => {
      const before = entrant.program.threadSeconds();
      const result = await load(bench.work, { url: entrant.url, connections: 128, seconds });
      const used = [...entrant.program.threadSeconds()]
        .map(([thread, total]) => total - (before.get(thread) ?? 0))
        .sort((a, b) => b - a);
      const workers = used.slice(0, entrant.contestant.task?.workers ?? 1);
      return {
        cpuUs: (sum(used) * 1e6) / result.requests,
        busiest: workers[0]! / sum(workers),
        errors: result.errors,
      };
    };
    for (const entrant of entrants) await measure(entrant, bench.warmSeconds);
    const samples = new Map<Entrant, Sample[]>(entrants.map((entrant) => [entrant, []]));
    for (let round = 0; round < bench.rounds; round++)
      for (const [entrant, list] of samples) list.push(await measure(entrant, bench.seconds));
    await leave(entrants);
    const capacities = [...samples.values()].map((list) => list.map(capacity));
    const rows = [...samples].map(([entrant, list], row) => ({
      label: entrant.contestant.label,
      figures: [
        figure(median(list.map((each) => each.cpuUs)), 1),
        figure(median(list.map((each) => each.busiest)), 2),
        figure(median(capacities[row]!), 0),
        figure(median(capacities[0]!.map((one, i) => capacities[row]![i]! / one)), 2),
      ],
      rounds: list.map((each) => each.cpuUs),
      errors: sum(list.map((each) => each.errors)),
    }));
    const columns = ["CPU us/request", "busiest worker's share", "capacity requests/s", "ratio"];
    return { name: "workers", title, base: "1 worker", columns, rows, missing };
  },
};

function capacity(sample: Sample): number {
  return 1e6 / (sample.cpuUs * sample.busiest);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, each) => total + each, 0);
}
