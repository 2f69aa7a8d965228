/** Hours of everything at once: `npm run soak -- [--minutes N]`. Fails when a good request fails or something grows. */

import fs from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { setTimeout as delay } from "node:timers/promises";
import { Besieged } from "../leaks/besieged.ts";
import type { Holdings } from "../leaks/besieged.ts";
import { aborts, provoke } from "../leaks/aborts.ts";
import { growthOf } from "./growth.ts";
import { WellBehaved } from "./well-behaved.ts";

const { values } = parseArgs({ options: { minutes: { type: "string", default: "10" } } });
const minutes = Number(values.minutes);
if (!(minutes > 0)) {
  console.error("usage: npm run soak -- [--minutes N]");
  process.exit(2);
}

/** A pause between two looks, in which everything settles; the rest of the time is load. */
const roundMs = Math.min(30_000, (minutes * 60_000) / 12);
await using besieged = await Besieged.start();
const { gateway } = besieged;
const config = path.join(gateway.folder, "weft.yaml");
await provoke(besieged.target, Object.keys(aborts).length * 20);

const looks: Holdings[] = [];
let provoked = 0;
let asked = 0;
let reloads = 0;
const failures: string[] = [];
const end = performance.now() + minutes * 60_000;
console.log(`${minutes} minutes, a look every ${Math.round(roundMs / 1000)} s`);
while (performance.now() < end) {
  const roundEnd = Math.min(end, performance.now() + roundMs);
  const callers = new WellBehaved(besieged.target);
  const reloading = (async () => {
    while (performance.now() + 1000 < roundEnd) {
      fs.appendFileSync(config, `# ${++reloads}\n`);
      await delay(1000);
    }
  })();
  await provoke(besieged.target, Number.POSITIVE_INFINITY, {
    width: 32,
    onEach: () => (provoked++, performance.now() < roundEnd),
  });
  await reloading;
  const { asked: count, failed } = await callers.stop();
  asked += count;
  failures.push(...failed);
  const look = await besieged.holdings();
  looks.push(look);
  const mib = (bytes: number) => (bytes / 1024 / 1024).toFixed(1).padStart(7);
  console.log(
    `${String(looks.length).padStart(4)}  ${String(provoked).padStart(9)} aborts  ${String(asked).padStart(9)} asked  ${failures.length} failed  heap ${mib(look.heapBytes)}  buffers ${mib(look.bufferBytes)}  resident ${mib(look.residentBytes)} MiB  ${look.descriptors} descriptors  ${look.timers} timers  ${look.objects["Timed"]} objects`,
  );
}

const grown = growthOf(looks);
for (const line of [...new Set(failures)].slice(0, 10))
  console.error(`FAILED  a good request: ${line}`);
for (const line of grown) console.error(`FAILED  ${line}`);
const restarts = await gateway.metric("weft_worker_restarts_total");
if (restarts > 0) console.error(`FAILED  ${restarts} workers ended`);
console.log(
  `${provoked} aborts, ${asked} good requests, ${reloads} reloads: ${failures.length + grown.length + restarts === 0 ? "nothing lost, nothing grown" : "see above"}`,
);
process.exitCode = failures.length + grown.length + restarts === 0 ? 0 : 1;
