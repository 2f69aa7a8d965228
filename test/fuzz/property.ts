/** What a fuzzed property is, one run of it, and the seeds of runs that once failed. */

import fs from "node:fs";
import path from "node:path";
import fc from "fast-check";
import { root } from "../support/source-tree.ts";

/** Something that holds for every input. */
export interface FuzzProperty {
  /** A sentence; a {@link KeptSeed} refers to it. */
  readonly name: string;
  /** Inputs per run inside `npm test`: all properties together take well under a minute. */
  readonly runs: number;
  readonly property: fc.IAsyncProperty<any>;
}

/** A run that failed once, and must not any more. */
export interface KeptSeed {
  readonly property: string;
  /** What was wrong, in words. */
  readonly what: string;
  readonly seed: number;
  /** fast-check's way to the smallest counterexample. */
  readonly path: string;
  /** That counterexample, for readers: seeds mean nothing once the generators change. */
  readonly counterexample: string;
}

const seedFile = path.join(root, "test/fuzz/seeds.json");

/** All that are kept. */
export function keptSeeds(): KeptSeed[] {
  return JSON.parse(fs.readFileSync(seedFile, "utf8")) as KeptSeed[];
}

/** Adds one to the file. */
export function keepSeed(seed: KeptSeed): void {
  fs.writeFileSync(seedFile, `${JSON.stringify([...keptSeeds(), seed], null, 2)}\n`);
}

/** Runs a property from a seed; null, or what to keep and the words to show. */
export async function findFailure(
  { name, property }: FuzzProperty,
  parameters: { readonly seed: number; readonly runs: number; readonly path?: string },
): Promise<{ readonly kept: KeptSeed; readonly report: string } | null> {
  const { seed, runs, path: way } = parameters;
  const details = await fc.check(property, {
    seed,
    numRuns: runs,
    ...(way === undefined ? {} : { path: way }),
  });
  if (!details.failed) return null;
  const report = fc.defaultReportMessage(details) ?? "";
  return {
    kept: {
      property: name,
      what: firstLine(details.errorInstance),
      seed: details.seed,
      path: details.counterexamplePath ?? "",
      counterexample: fc.stringify(details.counterexample),
    },
    report,
  };
}

function firstLine(error: unknown): string {
  return String(error instanceof Error ? error.message : error).split("\n")[0]!;
}
