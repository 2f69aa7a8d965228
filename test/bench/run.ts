/** `npm run bench [-- CASE... --quick]`: what weft costs beside other proxies, in one run, interleaved. */

import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { freePorts } from "../support/ports.ts";
import type { Bench } from "./bench.ts";
import { cases } from "./cases.ts";
import { startOrigin } from "./peers/nginx.ts";
import { hasProgram } from "./process.ts";
import { toText, updateDocs, writeJson, type CaseResult } from "./report.ts";

const usage = `npm run bench [-- CASE... OPTIONS]
cases: ${cases.map((each) => each.name).join(" ")} (default: all)
  --quick          three short rounds: for tuning
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
for (const tool of ["wrk", "h2load", "nginx"]) {
  if (hasProgram(tool)) continue;
  console.error(
    `missing: ${tool} (the load is wrk and h2load, the origin nginx): install it and run again`,
  );
  process.exit(1);
}

const work = fs.mkdtempSync(path.join(os.tmpdir(), "weft-bench-"));
const upstreams = await freePorts(3);
const bench: Bench = {
  work,
  upstreams,
  rounds: Number(values.rounds ?? (values.quick ? 3 : 5)),
  seconds: Number(values.seconds ?? (values.quick ? 1.5 : 4)),
  warmSeconds: values.quick ? 3 : 5,
  only: values.only?.split(",") ?? null,
  profile: values.profile ?? null,
};
const docs = path.join(import.meta.dirname, "../../docs/benchmarks.md");

const origin = await startOrigin(work, upstreams);
const results: CaseResult[] = [];
let failed = 0;
for (const each of cases) {
  if (positionals.length > 0 && !positionals.includes(each.name)) continue;
  try {
    const result = await each.run(bench);
    results.push(result);
    console.log(toText(result));
    if (values.docs) updateDocs(docs, [result]);
  } catch (error) {
    failed++;
    console.error(`${each.name}: ${(error as Error).stack}\n`);
  }
}
await origin.stop();
fs.rmSync(work, { recursive: true, force: true });
console.log(`written: ${writeJson(path.join(import.meta.dirname, "results"), results)}`);
// programs of a case that failed are ended with this process
process.exit(failed === 0 ? 0 : 1);
