/** What compiling a configuration throws: everything that is wrong with it, not only the first. */

import { basename, dirname } from "node:path";
import type { Problem } from "../config.ts";

/** A configuration that cannot be put in effect. Nothing was changed. */
export class ConfigProblems extends Error {
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    const [first] = problems;
    const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : "";
    super(`the configuration cannot be used: ${first?.message ?? "no reason given"}${more}`);
    this.name = "ConfigProblems";
    this.problems = problems;
  }
}

/** A short sentence of whatever was thrown. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

const control = dirname(import.meta.dirname);

/** As {@link reasonOf}, with the line of the module that was at fault when its stack names one: `tenant.ts:12: ...`. */
export function reasonInCode(error: unknown): string {
  const stack = error instanceof Error ? (error.stack ?? "") : "";
  const places = stack.matchAll(/(?:^|file:\/\/|\()(\/[^\s():]+):(\d+)/g);
  const place = places.find(([, file]) => !file!.startsWith(`${control}/`));
  const reason = reasonOf(error);
  return place === undefined ? reason : `${basename(place[1]!)}:${place[2]}: ${reason}`;
}

/** Each problem once: a global plugin is met on every route. */
export function unique(problems: readonly Problem[]): Problem[] {
  const seen = new Set<string>();
  return problems.filter((problem) => {
    const key = JSON.stringify([problem.path, problem.message]);
    return !seen.has(key) && seen.add(key);
  });
}
