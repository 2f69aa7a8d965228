/** CPU per request under as much load as one core can make, contestants in turns. */

import { enterAll, leave, type Bench, type Case, type Contestant, type Entrant } from "./bench.ts";
import { load, type LoadResult } from "./load.ts";
import { startOwnOrigin, type OriginKind } from "./origins/origins.ts";
import { warmsUp } from "./peers/peers.ts";
import type { Task } from "./peers/task.ts";
import { figure, median, type CaseResult, type Row } from "./report.ts";

/** A group of contestants under one load. */
export interface ThroughputSpec {
  readonly name: string;
  readonly title: string;
  readonly contestants: readonly Contestant[];
  /** Label that the ratios are taken against. */
  readonly base: string;
  readonly tls?: boolean;
  /** What is asked of all of them. */
  readonly task?: Partial<Task>;
  /** What stands behind them; default: the common origin. */
  readonly origin?: OriginKind;
  /** Makes the load; default: wrk, by the options below. */
  readonly push?: (bench: Bench, entrant: Entrant, seconds: number) => Promise<LoadResult>;
  /** Asked once of each contestant before anything is measured: why it may not take part, or null. */
  readonly check?: (entrant: Entrant) => Promise<string | null>;
  /** What is counted; default `request`. */
  readonly unit?: string;
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
  const { tls = false, task = {}, unit = "request" } = spec;
  const origin = spec.origin === undefined ? null : await startOwnOrigin(spec.origin);
  const upstreams = origin?.ports ?? bench.upstreams;
  const entered = await enterAll(bench, spec.contestants, { tls, task, upstreams });
  const { entrants } = entered;
  const missing = [...entered.missing];
  const samples = new Map<Entrant, Sample[]>();
  for (const entrant of entrants) {
    const { label, peer } = entrant.contestant;
    const fault = (await spec.check?.(entrant)) ?? null;
    if (fault !== null) {
      missing.push(`${label}: ${fault}`);
      continue;
    }
    const seconds = warmsUp.includes(peer) ? bench.warmSeconds : 0.5;
    const { errors } = await measure(spec, bench, entrant, seconds);
    if (errors > 0) console.error(`${label}: ${errors} errors while warming up`);
    samples.set(entrant, []);
  }
  for (let round = 0; round < bench.rounds; round++) {
    for (const [entrant, list] of samples)
      list.push(await measure(spec, bench, entrant, bench.seconds));
  }
  await leave(entrants);
  await origin?.program.stop();
  const baseOf = ({ contestant }: Entrant): readonly Sample[] => {
    const label = contestant.base ?? spec.base;
    const base = [...samples.keys()].find((entrant) => entrant.contestant.label === label);
    return base === undefined ? [] : samples.get(base)!;
  };
  const columns = [`CPU us/${unit}`, "ratio", `${unit}s/s per core`, `${unit}s/s here`];
  const isTimed = [...samples.values()].flat().some((each) => Number.isFinite(each.p99Ms));
  if (isTimed) columns.push("p99 ms");
  return {
    name: spec.name,
    title: spec.title,
    base: spec.base,
    columns,
    rows: [...samples].map(([entrant, list]) => {
      const row = toRow(entrant, list, baseOf(entrant));
      return { ...row, figures: row.figures.slice(0, columns.length) };
    }),
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
  const result = await (spec.push ?? pushWrk(spec))(bench, entrant, seconds);
  const used = result.cpuSeconds ?? entrant.program.cpuSeconds() - before;
  return {
    cpuUs: (used * 1e6) / result.requests,
    perSecond: result.requests / result.seconds,
    p99Ms: result.p99Ms,
    errors: result.errors,
  };
}

function pushWrk(spec: ThroughputSpec): NonNullable<ThroughputSpec["push"]> {
  return (bench, entrant, seconds) =>
    load(bench.work, {
      url: entrant.url + (spec.path ?? "/"),
      connections: spec.connections ?? 64,
      seconds,
      headers: entrant.contestant.headers ?? {},
      bodyBytes: spec.bodyBytes ?? 0,
      script: entrant.contestant.script ?? "",
    });
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
