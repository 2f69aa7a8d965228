/** Fuzzes for as long as it is told to: `npm run fuzz -- [--minutes N] [--seed S] [words of a property's name]`. */

import { parseArgs } from "node:util";
import { findFailure, keepSeed } from "./property.ts";
import { properties } from "./properties.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { minutes: { type: "string", default: "1" }, seed: { type: "string" } },
});
const minutes = Number(values.minutes);
const words = positionals.join(" ");
const chosen = properties.filter(({ name }) => name.includes(words));
if (!(minutes > 0) || chosen.length === 0) {
  console.error("usage: npm run fuzz -- [--minutes N] [--seed S] [words of a property's name]");
  for (const { name } of properties) console.error(`  ${name}`);
  process.exit(2);
}

const first = Number(values.seed ?? Date.now() % 0x4000_0000) | 0;
const end = performance.now() + minutes * 60_000;
const inputs = new Map<string, number>();
const failed = new Set<string>();
console.log(`seeds from ${first}, for ${minutes} minutes`);
for (let seed = first; performance.now() < end && failed.size < chosen.length; seed++) {
  for (const property of chosen) {
    if (performance.now() >= end || failed.has(property.name)) continue;
    const failure = await findFailure(property, { seed, runs: property.runs });
    inputs.set(property.name, (inputs.get(property.name) ?? 0) + property.runs);
    if (failure === null) continue;
    failed.add(property.name);
    keepSeed(failure.kept);
    console.error(`\nFAILED  ${property.name}\n${failure.report}`);
  }
}
for (const { name } of chosen) {
  const verdict = failed.has(name) ? "FAILED" : "ok    ";
  console.log(`${verdict}  ${String(inputs.get(name) ?? 0).padStart(9)} inputs  ${name}`);
}
if (failed.size > 0)
  console.error("\nThe seeds are in test/fuzz/seeds.json now: npm test repeats them.");
process.exitCode = failed.size > 0 ? 1 : 0;
