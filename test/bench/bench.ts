/** What every case is given: the folder to work in, the origin, how long to measure, and a way to start contestants. */

import path from "node:path";
import { freePorts } from "../support/ports.ts";
import { makeCertificate } from "./certificate.ts";
import { startPeer, type PeerName } from "./peers/peers.ts";
import type { Task } from "./peers/task.ts";
import type { Program } from "./process.ts";
import type { CaseResult } from "./report.ts";

/** One run of the benchmark. */
export interface Bench {
  /** Everything that is written while it runs. */
  readonly work: string;
  /** Ports of the running origin. */
  readonly upstreams: readonly number[];
  readonly rounds: number;
  /** Of each measurement. */
  readonly seconds: number;
  /** Before the first measurement of what has a just-in-time compiler. */
  readonly warmSeconds: number;
  /** Words, one of which a contestant's label has to contain; null: all take part. */
  readonly only: readonly string[] | null;
  /** Folder for weft's CPU profiles; null: none. */
  readonly profile: string | null;
}

/** One proxy in one configuration. */
export interface Contestant {
  /** Unique in its case; also the row's label. */
  readonly label: string;
  readonly peer: PeerName;
  readonly task?: Partial<Task>;
  readonly headers?: Readonly<Record<string, string>>;
  /** Stands before the common origin of HTTP/1.1, whatever origin its case has. */
  readonly isPlain?: boolean;
  /** Lua for wrk, when its requests differ from each other. */
  readonly script?: string;
  /** Label that its ratio is taken against; default: the case's. */
  readonly base?: string;
}

/** What a case asks of all its contestants. */
export interface Terms {
  readonly tls?: boolean;
  readonly task?: Partial<Task>;
  /** Ports of an origin of the case's own. */
  readonly upstreams?: readonly number[];
}

/** One thing that is measured. */
export interface Case {
  readonly name: string;
  readonly title: string;
  run(bench: Bench): Promise<CaseResult>;
}

/** A contestant that runs. */
export interface Entrant {
  readonly contestant: Contestant;
  readonly program: Program;
  /** The folder with its configuration. */
  readonly work: string;
  readonly port: number;
  readonly adminPort: number;
  readonly url: string;
}

/** Starts one contestant; a text says why it cannot take part. */
export async function enter(
  bench: Bench,
  contestant: Contestant,
  terms: Terms = {},
): Promise<Entrant | string> {
  const { tls = false } = terms;
  const [port, adminPort] = (await freePorts(2)) as [number, number];
  const certificate = tls ? makeCertificate(bench.work) : null;
  if (tls && certificate === null) return `${contestant.label}: no openssl to make a certificate`;
  const work = path.join(bench.work, `${contestant.label.replaceAll(/\W+/g, "-")}-${port}`);
  const program = await startPeer(contestant.peer, {
    work,
    port,
    adminPort,
    upstreams: contestant.isPlain === true ? bench.upstreams : (terms.upstreams ?? bench.upstreams),
    tls: certificate,
    nodeOptions:
      bench.profile === null ? [] : ["--cpu-prof", `--cpu-prof-dir=${path.resolve(bench.profile)}`],
    ...terms.task,
    ...contestant.task,
  });
  if (typeof program === "string") return `${contestant.label}: ${program}`;
  const url = `${tls ? "https" : "http"}://127.0.0.1:${port}`;
  return { contestant, program, work, port, adminPort, url };
}

/** Starts all that are wanted. */
export async function enterAll(
  bench: Bench,
  contestants: readonly Contestant[],
  terms: Terms = {},
): Promise<{ readonly entrants: readonly Entrant[]; readonly missing: readonly string[] }> {
  const entrants: Entrant[] = [];
  const missing: string[] = [];
  for (const contestant of contestants) {
    if (bench.only !== null && !bench.only.some((word) => contestant.label.includes(word)))
      continue;
    const entrant = await enter(bench, contestant, terms);
    if (typeof entrant === "string") missing.push(entrant);
    else entrants.push(entrant);
  }
  return { entrants, missing };
}

/** Ends them. */
export async function leave(entrants: readonly Entrant[]): Promise<void> {
  await Promise.all(entrants.map((entrant) => entrant.program.stop()));
}
