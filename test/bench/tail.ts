/** Latency at a fixed rate, counted from when each request was due. */

import { enterAll, leave, type Bench, type Case, type Contestant, type Entrant } from "./bench.ts";
import type { OpenLoopOptions, OpenLoopResult } from "./clients/open-loop.ts";
import { runClient } from "./clients/run-client.ts";
import { load } from "./load.ts";
import { warmsUp } from "./peers/peers.ts";
import { figure, median, type CaseResult, type Row } from "./report.ts";

/** Requests per second. */
export const tailRate = 2000;

/** Names of the figures of {@link latencyRow}. */
export const latencyColumns = ["p50 ms", "p99 ms", "p99 ratio", "p99.9 ms", "max ms"];

/** Makes the case. */
export function tailCase(contestants: readonly Contestant[]): Case {
  const title = `latency at ${tailRate} requests/s, 64 connections, corrected for coordinated omission`;
  return {
    name: "tail",
    title,
    run: async (bench): Promise<CaseResult> => {
      const { entrants, missing } = await enterAll(bench, contestants);
      for (const entrant of entrants) {
        const seconds = warmsUp.includes(entrant.contestant.peer) ? bench.warmSeconds : 0.5;
        await load(bench.work, { url: entrant.url, connections: 64, seconds });
      }
      const samples = new Map<Entrant, OpenLoopResult[]>(entrants.map((each) => [each, []]));
      for (let round = 0; round < bench.rounds; round++)
        for (const [entrant, list] of samples) list.push(await askSteadily(bench, entrant.port));
      await leave(entrants);
      const base = entrants.find((entrant) => entrant.contestant.label === "haproxy");
      const baseSamples = base === undefined ? [] : samples.get(base)!;
      const rows = [...samples].map(([entrant, list]) =>
        latencyRow(entrant.contestant.label, list, baseSamples),
      );
      return { name: "tail", title, base: "haproxy", columns: latencyColumns, rows, missing };
    },
  };
}

/** One measurement. @param host what to ask for; default `localhost` */
export function askSteadily(
  bench: Bench,
  port: number,
  host = "localhost",
): Promise<OpenLoopResult> {
  const options: OpenLoopOptions = {
    port,
    host,
    rate: tailRate,
    seconds: bench.seconds,
    connections: 64,
  };
  return runClient<OpenLoopResult>("open-loop", options);
}

/** Medians over the rounds, the ratio round by round. */
export function latencyRow(
  label: string,
  samples: readonly OpenLoopResult[],
  base: readonly OpenLoopResult[],
): Row {
  const middle = (pick: (each: OpenLoopResult) => number) => median(samples.map(pick));
  return {
    label,
    figures: [
      figure(
        middle((each) => each.p50),
        2,
      ),
      figure(
        middle((each) => each.p99),
        2,
      ),
      figure(median(base.map((each, i) => samples[i]!.p99 / each.p99)), 2),
      figure(
        middle((each) => each.p999),
        2,
      ),
      figure(
        middle((each) => each.max),
        1,
      ),
    ],
    rounds: samples.map((each) => each.p99),
    errors: samples.reduce((sum, each) => sum + each.errors, 0),
  };
}
