/** `npm run bench [-- CASE... --quick]`: CPU per request of weft beside HAProxy and nginx, in one run, interleaved. */

import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { freePorts } from "../support/ports.ts";
import { cases } from "./cases.ts";
import type { Case, Contestant } from "./cases.ts";
import { makeCertificate } from "./certificate.ts";
import { load, loadHttp2 } from "./load.ts";
import type { LoadResult } from "./load.ts";
import { startOrigin, startPeer } from "./peers.ts";
import { hasProgram } from "./process.ts";
import type { Program } from "./process.ts";
import { median, toText, updateDocs, writeJson } from "./report.ts";
import type { CaseResult, Row } from "./report.ts";

const usage = `npm run bench [-- CASE... OPTIONS]
cases: ${cases.map((each) => each.name).join(" ")} (default: all)
  --quick          three short rounds: for tuning (one case takes about 25 s)
  --rounds N       default 5
  --seconds N      of each measurement; default 4
  --only A,B       contestants whose label contains A or B
  --profile DIR    weft writes CPU profiles there (--cpu-prof); its figures are then not comparable
  --docs           write the tables into docs/benchmarks.md`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: "boolean", default: false },
    rounds: { type: "string" },
    seconds: { type: "string" },
    connections: { type: "string", default: "64" },
    only: { type: "string" },
    profile: { type: "string" },
    docs: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
if (values.help) {
  console.log(usage);
  process.exit(0);
}
const unknown = positionals.filter((name) => !cases.some((each) => each.name === name));
if (unknown.length > 0) {
  console.error(`no such case: ${unknown.join(", ")}\n${usage}`);
  process.exit(2);
}
for (const tool of ["wrk", "nginx"]) {
  if (hasProgram(tool)) continue;
  console.error(`missing: ${tool} (the load is wrk, the origin nginx): install it and run again`);
  process.exit(1);
}

const rounds = Number(values.rounds ?? (values.quick ? 3 : 5));
const seconds = Number(values.seconds ?? (values.quick ? 1.5 : 4));
/** Before the first measurement: the just-in-time compilers and the pools get their time. */
const warmSeconds = values.quick ? 3 : 5;
const only = values.only?.split(",");
const work = fs.mkdtempSync(path.join(os.tmpdir(), "weft-bench-"));

interface Entrant {
  readonly contestant: Contestant;
  readonly program: Program;
  readonly url: string;
  readonly http2: boolean;
  readonly cpuUs: number[];
  readonly perSecond: number[];
  readonly p99Ms: number[];
  errors: number;
}

function push(entrant: Entrant, forSeconds: number): Promise<LoadResult> {
  if (entrant.http2) return loadHttp2(entrant.url, forSeconds);
  const connections = Number(values.connections);
  return load(work, { url: entrant.url, connections, seconds: forSeconds });
}

async function measure(entrant: Entrant): Promise<void> {
  const before = entrant.program.cpuSeconds();
  const result = await push(entrant, seconds);
  const used = entrant.program.cpuSeconds() - before;
  entrant.cpuUs.push((used * 1e6) / result.requests);
  entrant.perSecond.push(result.requests / result.seconds);
  entrant.p99Ms.push(result.p99Ms);
  entrant.errors += result.errors;
}

async function enter(
  each: Case,
  contestant: Contestant,
  upstreams: readonly number[],
): Promise<Entrant | string> {
  const [port, adminPort] = (await freePorts(2)) as [number, number];
  const tls = each.tls ? makeCertificate(work) : null;
  if (each.tls && tls === null) return `${contestant.label}: no openssl to make a certificate`;
  const started = startPeer(contestant.peer, {
    work: path.join(work, `${each.name}-${contestant.label.replaceAll(/\W+/g, "-")}`),
    port,
    adminPort,
    upstreams,
    tls,
    http2: each.http2 ?? false,
    routes: contestant.routes ?? 1,
    plugins: contestant.plugins ?? 0,
    nodeOptions:
      values.profile === undefined
        ? []
        : ["--cpu-prof", `--cpu-prof-dir=${path.resolve(values.profile)}`],
  });
  if (started === null) return `${contestant.label}: not installed`;
  try {
    const program = await started;
    const url = `${each.tls ? "https" : "http"}://127.0.0.1:${port}/`;
    const http2 = each.http2 ?? false;
    return { contestant, program, url, http2, cpuUs: [], perSecond: [], p99Ms: [], errors: 0 };
  } catch (error) {
    return `${contestant.label}: ${(error as Error).message}`;
  }
}

async function runCase(each: Case, upstreams: readonly number[]): Promise<CaseResult> {
  const entrants: Entrant[] = [];
  const missing: string[] = [];
  for (const contestant of each.contestants) {
    if (only !== undefined && !only.some((word) => contestant.label.includes(word))) continue;
    const entrant = await enter(each, contestant, upstreams);
    if (typeof entrant === "string") missing.push(entrant);
    else entrants.push(entrant);
  }
  for (const entrant of entrants) {
    const warm =
      entrant.contestant.peer === "weft" || entrant.contestant.peer === "relay" ? warmSeconds : 0.5;
    const result = await push(entrant, warm);
    if (result.errors > 0)
      console.error(`${entrant.contestant.label}: ${result.errors} errors while warming up`);
  }
  for (let round = 0; round < rounds; round++)
    for (const entrant of entrants) await measure(entrant);
  await Promise.all(entrants.map((entrant) => entrant.program.stop()));
  const base = entrants.find((entrant) => entrant.contestant.label === each.base);
  const rows = entrants.map((entrant): Row => {
    const ratios =
      base === undefined ? [] : entrant.cpuUs.map((value, i) => value / base.cpuUs[i]!);
    return {
      label: entrant.contestant.label,
      cpuUs: median(entrant.cpuUs),
      rounds: entrant.cpuUs,
      ratio: ratios.length === 0 ? null : median(ratios),
      requestsPerSecond: median(entrant.perSecond),
      p99Ms: median(entrant.p99Ms),
      errors: entrant.errors,
    };
  });
  return { case: { name: each.name, title: each.title, base: each.base }, rows, missing };
}

const upstreams = await freePorts(3);
const origin = await startOrigin(work, upstreams);
const results: CaseResult[] = [];
for (const each of cases) {
  if (positionals.length > 0 && !positionals.includes(each.name)) continue;
  const result = await runCase(each, upstreams);
  results.push(result);
  console.log(toText(result));
}
await origin.stop();
fs.rmSync(work, { recursive: true, force: true });
console.log(`written: ${writeJson(path.join(import.meta.dirname, "results"), results)}`);
if (values.docs) updateDocs(path.join(import.meta.dirname, "../../docs/benchmarks.md"), results);
