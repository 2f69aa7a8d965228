/** CPU per request under as much load as one core can make, contestants in turns. */

import { enterAll, leave, type Bench, type Case, type Contestant, type Entrant } from "./bench.ts";
import { load } from "./load.ts";
import { warmsUp } from "./peers/peers.ts";
import { figure, median, type CaseResult, type Row } from "./report.ts";

/** A group of contestants under one load. */
export interface ThroughputSpec {
  readonly name: string;
  readonly title: string;
  readonly contestants: readonly Contestant[];
  /** Label that the ratios are taken against. */
  readonly base: string;
  readonly tls?: boolean;
  /** Default `/`. */
  readonly path?: string;
  /** POST so many bytes. */
  readonly bodyBytes?: number;
  /** Default 64. */
  readonly connections?: number;
}

interface Sample {
  readonly cpuUs: number;
  readonly perSecond: number;
  readonly p99Ms: number;
  readonly errors: number;
}

/** Makes the case. */
export function throughputCase(spec: ThroughputSpec): Case {
  return { name: spec.name, title: spec.title, run: (bench) => run(spec, bench) };
}

async function run(spec: ThroughputSpec, bench: Bench): Promise<CaseResult> {
  const { entrants, missing } = await enterAll(bench, spec.contestants, spec.tls);
  for (const { contestant, ...entrant } of entrants) {
    const seconds = warmsUp.includes(contestant.peer) ? bench.warmSeconds : 0.5;
    const { errors } = await measure(spec, bench, { contestant, ...entrant }, seconds);
    if (errors > 0) console.error(`${contestant.label}: ${errors} errors while warming up`);
  }
  const samples = new Map<Entrant, Sample[]>(entrants.map((entrant) => [entrant, []]));
  for (let round = 0; round < bench.rounds; round++) {
    for (const [entrant, list] of samples)
      list.push(await measure(spec, bench, entrant, bench.seconds));
  }
  await leave(entrants);
  const base = entrants.find((entrant) => entrant.contestant.label === spec.base);
  const baseSamples = base === undefined ? [] : samples.get(base)!;
  return {
    name: spec.name,
    title: spec.title,
    base: spec.base,
    columns: ["CPU us/request", "ratio", "requests/s per core", "requests/s here", "p99 ms"],
    rows: [...samples].map(([entrant, list]) => toRow(entrant, list, baseSamples)),
    missing,
  };
}

async function measure(
  spec: ThroughputSpec,
  bench: Bench,
  entrant: Entrant,
  seconds: number,
): Promise<Sample> {
  const before = entrant.program.cpuSeconds();
  const result = await load(bench.work, {
    url: entrant.url + (spec.path ?? "/"),
    connections: spec.connections ?? 64,
    seconds,
    headers: entrant.contestant.headers ?? {},
    bodyBytes: spec.bodyBytes ?? 0,
  });
  const used = entrant.program.cpuSeconds() - before;
  return {
    cpuUs: (used * 1e6) / result.requests,
    perSecond: result.requests / result.seconds,
    p99Ms: result.p99Ms,
    errors: result.errors,
  };
}

function toRow(entrant: Entrant, samples: readonly Sample[], base: readonly Sample[]): Row {
  const cpuUs = samples.map((each) => each.cpuUs);
  const ratios = base.map((each, i) => samples[i]!.cpuUs / each.cpuUs);
  return {
    label: entrant.contestant.label,
    figures: [
      figure(median(cpuUs), 1),
      figure(median(ratios), 2),
      figure(1e6 / median(cpuUs), 0),
      figure(median(samples.map((each) => each.perSecond)), 0),
      figure(median(samples.map((each) => each.p99Ms)), 1),
    ],
    rounds: cpuUs,
    errors: samples.reduce((sum, each) => sum + each.errors, 0),
  };
}
