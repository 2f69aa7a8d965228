/** Loads configurations from texts and from files in a folder of their own. */

import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { TestContext } from "node:test";
import type { Config } from "../../control/config.ts";
import {
  formatProblems,
  parseConfigText,
  type LoadMode,
  type LocatedProblem,
} from "../../control/load.ts";

export interface LoadingOptions {
  readonly mode?: LoadMode;
  readonly env?: Readonly<Record<string, string>>;
  readonly format?: "yaml" | "json";
}

/** The configuration that a text makes; fails with the problems as they are printed. */
export async function configOf(text: string, options: LoadingOptions = {}): Promise<Config> {
  const result = await load(text, options);
  assert.ok(result.ok, result.ok ? "" : formatProblems(result.problems, { color: false }));
  return result.config;
}

/** The problems of a text, which must have some. */
export async function problemsOf(
  text: string,
  options: LoadingOptions = {},
): Promise<readonly LocatedProblem[]> {
  const result = await load(text, options);
  assert.ok(!result.ok, "the configuration was accepted");
  assert.ok(result.problems.length > 0);
  return result.problems;
}

/** The first problem of a text. */
export async function problemOf(
  text: string,
  options: LoadingOptions = {},
): Promise<LocatedProblem> {
  const [first] = await problemsOf(text, options);
  assert.ok(first !== undefined);
  return first;
}

/** `line:column message` of each problem: what a test compares. */
export async function linesOf(text: string, options: LoadingOptions = {}): Promise<string[]> {
  return (await problemsOf(text, options)).map(
    (problem) => `${problem.line}:${problem.column} ${problem.message}`,
  );
}

function load(text: string, { mode = "check", env = {}, format = "yaml" }: LoadingOptions) {
  return parseConfigText(text, { file: join(tmpdir(), "weft.yaml"), format, mode, env });
}

/** A folder with these files, gone after the test. */
export async function folder(
  t: TestContext,
  files: Readonly<Record<string, string>>,
): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "weft-config-"));
  t.after(() => rm(path, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(path, name)), { recursive: true });
    await writeFile(join(path, name), text);
  }
  return path;
}
