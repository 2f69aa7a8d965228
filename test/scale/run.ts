/** 10,000 event streams and 5,000 WebSockets through 50 reloads and a drain: `npm run scale -- [--streams N] [--sockets N] [--reloads N]`. */

import { parseArgs } from "node:util";
import { descriptorLimit, descriptorsFor, judge, shown, standTheTest } from "./standing.ts";

const { values } = parseArgs({
  options: {
    streams: { type: "string", default: "10000" },
    sockets: { type: "string", default: "5000" },
    reloads: { type: "string", default: "50" },
  },
});
const plan = {
  streams: Number(values.streams),
  sockets: Number(values.sockets),
  reloads: Number(values.reloads),
};
if (!Object.values(plan).every((n) => Number.isInteger(n) && n > 0) || plan.streams % 4 !== 0) {
  console.error("usage: npm run scale -- [--streams N] [--sockets N] [--reloads N]");
  process.exit(2);
}
const needed = descriptorsFor(plan);
if (descriptorLimit() < needed) {
  console.error(`needs ${needed} descriptors a process; ulimit -H -n says ${descriptorLimit()}`);
  process.exit(1);
}
const outcome = await standTheTest(plan, (line) => console.log(line));
const [empty, before] = outcome.weights;
const lanes = plan.streams + plan.sockets;
const each = (before!.residentBytes - empty!.residentBytes) / lanes / 1024;
console.log(`\n${each.toFixed(1)} KiB in RAM for each of ${lanes} streams and sockets`);
console.log(`before the reloads: ${shown(before!)}\nafter them: ${shown(outcome.weights.at(-1)!)}`);
judge(plan, outcome);
console.log("none lost, every one alive on the configuration it began with, exit code 0");
