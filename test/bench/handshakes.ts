/** CPU for a TLS connection with one request on it. */

import { enterAll, leave, type Bench, type Case, type Contestant, type Entrant } from "./bench.ts";
import type { NewConnectionsOptions, NewConnectionsResult } from "./clients/new-connections.ts";
import { runClient } from "./clients/run-client.ts";
import { warmsUp } from "./peers/peers.ts";
import { figure, median, type CaseResult } from "./report.ts";

interface HandshakeSpec {
  readonly name: string;
  readonly title: string;
  readonly resume: boolean;
  readonly contestants: readonly Contestant[];
}

interface Sample {
  readonly cpuUs: number;
  readonly resumed: number;
  readonly errors: number;
}

/** Makes the case. */
export function handshakeCase(spec: HandshakeSpec): Case {
  return { name: spec.name, title: spec.title, run: (bench) => run(spec, bench) };
}

async function run(spec: HandshakeSpec, bench: Bench): Promise<CaseResult> {
  const { entrants, missing } = await enterAll(bench, spec.contestants, { tls: true });
  const measure = async (entrant: Entrant, seconds: number): Promise<Sample> => {
    const before = entrant.program.cpuSeconds();
    const options: NewConnectionsOptions = {
      port: entrant.port,
      seconds,
      connections: 8,
      resume: spec.resume,
    };
    const result = await runClient<NewConnectionsResult>("new-connections", options);
    const used = entrant.program.cpuSeconds() - before;
    return {
      cpuUs: (used * 1e6) / result.requests,
      resumed: result.resumed / result.requests,
      errors: result.errors,
    };
  };
  for (const entrant of entrants)
    if (warmsUp.includes(entrant.contestant.peer)) await measure(entrant, bench.warmSeconds);
  const samples = new Map<Entrant, Sample[]>(entrants.map((entrant) => [entrant, []]));
  for (let round = 0; round < bench.rounds; round++)
    for (const [entrant, list] of samples) list.push(await measure(entrant, bench.seconds));
  await leave(entrants);
  const base = entrants.find((entrant) => entrant.contestant.label === "haproxy");
  const baseSamples = base === undefined ? [] : samples.get(base)!;
  return {
    name: spec.name,
    title: spec.title,
    base: "haproxy",
    columns: ["CPU us/connection", "ratio", "connections/s per core", "resumed"],
    rows: [...samples].map(([entrant, list]) => {
      const cpuUs = list.map((each) => each.cpuUs);
      return {
        label: entrant.contestant.label,
        figures: [
          figure(median(cpuUs), 0),
          figure(median(baseSamples.map((each, i) => cpuUs[i]! / each.cpuUs)), 2),
          figure(1e6 / median(cpuUs), 0),
          figure(median(list.map((each) => each.resumed)), 2),
        ],
        rounds: cpuUs,
        errors: list.reduce((sum, each) => sum + each.errors, 0),
      };
    }),
    missing,
  };
}
