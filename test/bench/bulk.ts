/** One answer of 1 GiB at a time: how many bytes a second of CPU moves. */

import { enterAll, leave, type Case, type Contestant, type Entrant } from "./bench.ts";
import { loadHttp2 } from "./load-http2.ts";
import { bulkBytes } from "./peers/nginx.ts";
import { warmsUp } from "./peers/peers.ts";
import { figure, median, type CaseResult, type Row } from "./report.ts";

/** What callers speak, and whom they call. */
export interface BulkSpec {
  readonly name: string;
  readonly title: string;
  readonly down: "http1" | "http2";
  readonly contestants: readonly Contestant[];
}

interface Sample {
  readonly perCpuSecond: number;
  readonly perSecond: number;
  readonly errors: number;
}

const base = "haproxy";
const gib = 1024 ** 3;

/** Makes the case; the ratio is of bytes, so more is better. */
export function bulkCase(spec: BulkSpec): Case {
  return {
    name: spec.name,
    title: spec.title,
    run: async (bench): Promise<CaseResult> => {
      const { entrants, missing } = await enterAll(bench, spec.contestants, {
        task: { down: spec.down },
      });
      for (const entrant of entrants)
        if (warmsUp.includes(entrant.contestant.peer)) await measure(spec, entrant);
      const samples = new Map<Entrant, Sample[]>(entrants.map((entrant) => [entrant, []]));
      for (let round = 0; round < bench.rounds; round++)
        for (const [entrant, list] of samples) list.push(await measure(spec, entrant));
      await leave(entrants);
      const ofBase = [...samples].find(([entrant]) => entrant.contestant.label === base)?.[1] ?? [];
      return {
        name: spec.name,
        title: spec.title,
        base,
        columns: ["GiB per CPU second", "ratio (more is better)", "GiB/s here"],
        rows: [...samples].map(([entrant, list]) => toRow(entrant, list, ofBase)),
        missing,
      };
    },
  };
}

async function measure(spec: BulkSpec, entrant: Entrant): Promise<Sample> {
  const before = entrant.program.cpuSeconds();
  const result = await loadHttp2({
    url: `${entrant.url}/bulk`,
    connections: 1,
    streams: 1,
    requests: 1,
    isHttp1: spec.down === "http1",
  });
  const used = entrant.program.cpuSeconds() - before;
  return {
    perCpuSecond: result.bytes / used,
    perSecond: result.bytes / result.seconds,
    errors: result.bytes === bulkBytes ? result.errors : result.errors + 1,
  };
}

function toRow(entrant: Entrant, samples: readonly Sample[], ofBase: readonly Sample[]): Row {
  const rates = samples.map((each) => each.perCpuSecond / gib);
  const ratios = ofBase.map((each, i) => samples[i]!.perCpuSecond / each.perCpuSecond);
  return {
    label: entrant.contestant.label,
    figures: [
      figure(median(rates), 2),
      figure(median(ratios), 2),
      figure(median(samples.map((each) => each.perSecond / gib)), 2),
    ],
    rounds: rates,
    errors: samples.reduce((sum, each) => sum + each.errors, 0),
  };
}
