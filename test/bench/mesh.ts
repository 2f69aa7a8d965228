/** A pair of sidecars with mutual TLS between them, beside a direct call and beside one hop over HAProxy. */

import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { freePorts } from "../support/ports.ts";
import { enter, leave, type Bench, type Case } from "./bench.ts";
import type { OpenLoopResult } from "./clients/open-loop.ts";
import { load } from "./load.ts";
import { weftCommand } from "./peers/weft.ts";
import { Program, proxyCore } from "./process.ts";
import { figure, median, type CaseResult } from "./report.ts";
import { askSteadily, latencyColumns, latencyRow, tailRate } from "./tail.ts";

const title = `a pair of sidecars with mTLS (both on one core) beside a direct call and beside one HAProxy hop; latency at ${tailRate} requests/s`;

/** One way from the client to the origin. */
interface Way {
  readonly label: string;
  readonly port: number;
  readonly host: string;
  /** What lies between. */
  readonly programs: readonly Program[];
  readonly samples: OpenLoopResult[];
  readonly cpuUs: number[];
}

export const meshCase: Case = {
  name: "mesh",
  title,
  run: async (bench): Promise<CaseResult> => {
    const missing: string[] = [];
    const ways: Way[] = [way("direct", bench.upstreams[0]!, "localhost", [])];
    const hop = await enter(bench, { label: "haproxy", peer: "haproxy" });
    if (typeof hop === "string") missing.push(hop);
    else ways.push(way("one haproxy hop", hop.port, "localhost", [hop.program]));
    const pair = await startPair(bench);
    ways.push(way("pair of sidecars", pair.port, "origin", pair.programs));
    for (const each of ways) await push(bench, each, bench.warmSeconds);
    for (let round = 0; round < bench.rounds; round++) {
      for (const each of ways) {
        each.cpuUs.push(await push(bench, each, bench.seconds));
        each.samples.push(await askSteadily(bench, each.port, each.host));
      }
    }
    if (typeof hop !== "string") await leave([hop]);
    for (const program of pair.programs) await program.stop();
    const base = ways.find((each) => each.label.includes("haproxy"));
    const rows = ways.map((each) => {
      const row = latencyRow(each.label, each.samples, base?.samples ?? []);
      const cpu = each.programs.length === 0 ? null : median(each.cpuUs);
      const ratios = (base?.cpuUs ?? []).map((value, i) => each.cpuUs[i]! / value);
      const ratio = cpu === null ? null : median(ratios);
      return { ...row, figures: [figure(cpu, 1), figure(ratio, 2), ...row.figures] };
    });
    const columns = ["CPU us/request", "CPU ratio", ...latencyColumns];
    return { name: "mesh", title, base: "one haproxy hop", columns, rows, missing };
  },
};

function way(label: string, port: number, host: string, programs: readonly Program[]): Way {
  return { label, port, host, programs, samples: [], cpuUs: [] };
}

/** Full load; microseconds of CPU for each request in all that lies between. */
async function push(bench: Bench, each: Way, seconds: number): Promise<number> {
  const used = () => each.programs.reduce((sum, program) => sum + program.cpuSeconds(), 0);
  const before = used();
  const url = `http://127.0.0.1:${each.port}/`;
  // spelt as wrk spells it: it would add its own otherwise
  const headers = { Host: each.host };
  const { requests, errors } = await load(bench.work, { url, connections: 64, seconds, headers });
  if (errors > 0) throw new Error(`${each.label}: ${errors} of ${requests} requests failed`);
  return ((used() - before) * 1e6) / requests;
}

async function startPair(
  bench: Bench,
): Promise<{ readonly port: number; readonly programs: readonly Program[] }> {
  const dir = path.join(bench.work, "pair");
  const certificates = path.join(dir, "certs");
  const authority = path.join(dir, "ca");
  fs.mkdirSync(certificates, { recursive: true });
  weft(["cert", "ca", "--out", authority]);
  for (const service of ["caller", "origin"])
    weft(["cert", "issue", "--service", service, "--ca", authority, "--out", certificates]);
  const [outbound, inbound, spare, adminIn, adminOut] = (await freePorts(5)) as [
    number,
    number,
    number,
    number,
    number,
  ];
  const identity = (name: string) =>
    `identity: { cert: ${certificates}/${name}.crt, key: ${certificates}/${name}.key, bundle: ${certificates}/bundle.crt }`;
  const start = (name: string, ports: readonly number[], text: string): Promise<Program> => {
    const file = path.join(dir, `${name}.yaml`);
    fs.writeFileSync(file, text);
    const profile =
      bench.profile === null ? [] : ["--cpu-prof", `--cpu-prof-dir=${path.resolve(bench.profile)}`];
    const command = weftCommand(["mesh", "-c", file, "--workers", "1"], profile);
    return Program.start(name, command, { core: proxyCore, ports });
  };
  const programs = [
    await start(
      "inbound",
      [inbound],
      `
mesh:
  service: origin
  app: 127.0.0.1:${bench.upstreams[0]}
  inbound: 127.0.0.1:${inbound}
  outbound: 127.0.0.1:${spare}
  ${identity("origin")}
access: { rules: [{ to: origin, from: [caller] }] }
admin: { address: 127.0.0.1:${adminIn} }
`,
    ),
    await start(
      "outbound",
      [outbound],
      `
mesh:
  service: caller
  outbound: 127.0.0.1:${outbound}
  ${identity("caller")}
services: { origin: { endpoints: ["127.0.0.1:${inbound}"] } }
admin: { address: 127.0.0.1:${adminOut} }
`,
    ),
  ];
  return { port: outbound, programs };
}

function weft(args: readonly string[]): void {
  const command = weftCommand(args);
  const made = spawnSync(command[0]!, command.slice(1), { encoding: "utf8" });
  if (made.status !== 0) throw new Error(`weft ${args.join(" ")}: ${made.stderr}`);
}
