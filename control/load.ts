/** Reads a configuration file into `Config`, or says what is wrong with it and where. Never throws for bad input. */

import { open } from "node:fs/promises";
import { dirname, extname, resolve } from "node:path";
import type { Config, ConfigPath, Problem } from "./config.ts";
import { largestBytes, parseText } from "./load/document.ts";
import type { Span } from "./load/places.ts";
import { expandEnv } from "./load/env.ts";
import { silent, toProblems, valueAt } from "./load/issues.ts";
import { configKeys } from "./json-schema.ts";
import { importConfig } from "./load/module.ts";
import { lineSpan, moduleSpan } from "./load/module-places.ts";
import { Locator, sortProblems } from "./load/problems.ts";
import type { LocatedProblem } from "./load/problems.ts";
import { configSchema } from "./schema.ts";
import { toConfig } from "./load/to-config.ts";
import { checkAll, checkRest, startsWith, type LoadMode } from "./load/whole.ts";

export { formatProblems } from "./load/problems.ts";
export type { LocatedProblem } from "./load/problems.ts";
export type { LoadMode } from "./load/whole.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

/** Where a configuration came from: enough to find the place of a problem that is met later. Plain data. */
export interface ConfigSource {
  /** As the user named it. */
  readonly file: string;
  readonly format: "yaml" | "json" | "module";
  /** Empty when it could not be read. */
  readonly text: string;
}

export type LoadResult =
  | {
      readonly ok: true;
      readonly config: Config;
      readonly source: ConfigSource;
    }
  | {
      readonly ok: false;
      readonly problems: readonly LocatedProblem[];
      readonly source: ConfigSource;
    };

/**
 * Loads a `.yaml`, `.yml`, `.json`, `.ts`, `.mts`, `.js` or `.mjs` file; any other ending is read as YAML.
 * Relative paths inside start at the file's folder. Files it names must be readable.
 */
export async function loadConfig(
  file: string,
  options: { readonly mode: LoadMode; readonly env: Environment },
): Promise<LoadResult> {
  const format = formatOf(file);
  const source: ConfigSource = { file, format, text: "" };
  const path = resolve(file);
  const read = await readText(path);
  if (!read.ok) return { ok: false, source, problems: locate(source, [read.problem]) };
  if (format !== "module") return parseConfigText(read.text, { file, format, ...options });
  const module: ConfigSource = { ...source, text: read.text };
  const loaded = await importConfig(path, options.env);
  if (loaded.ok)
    return finish({ data: loaded.value, source: module, place: placesOf(module), ...options });
  const { problem, line } = loaded;
  const find = line === 0 ? placesOf(module) : () => lineSpan(read.text, line);
  return { ok: false, source: module, problems: place(module, [problem], find) };
}

/** The same for a text at hand, as `PUT /config` has it; `file` names it in problems, and its folder is where relative paths start. */
export async function parseConfigText(
  text: string,
  options: {
    readonly file: string;
    readonly format: "yaml" | "json";
    readonly mode: LoadMode;
    readonly env: Environment;
  },
): Promise<LoadResult> {
  const source: ConfigSource = { file: options.file, format: options.format, text };
  const parsed = parseText(text.replace(/^\ufeff/, " "), options.format);
  if (!parsed.ok) {
    const locator = new Locator(options.file, text);
    return {
      ok: false,
      source,
      problems: sortProblems(parsed.problems.map((problem) => locator.locate(problem, problem))),
    };
  }
  return finish({
    data: parsed.data,
    source,
    place: parsed.place,
    mode: options.mode,
    env: options.env,
  });
}

/** Finds the places of problems met later (in compiling, in plugin options), the earliest first. */
export function locate(source: ConfigSource, problems: readonly Problem[]): LocatedProblem[] {
  return problems.length === 0 ? [] : place(source, problems, placesOf(source));
}

type Find = (path: ConfigPath, at: "key" | "value") => Span;

/** Null: there is no text. */
function placesOf({ format, text }: ConfigSource): Find | null {
  if (text === "") return null;
  if (format === "module") return (path, at) => moduleSpan(text, path, at);
  const parsed = parseText(text.replace(/^\ufeff/, " "), format);
  return parsed.ok ? parsed.place : null;
}

function place(
  source: ConfigSource,
  problems: readonly Problem[],
  find: Find | null,
): LocatedProblem[] {
  if (find === null)
    return problems.map((problem) => ({
      ...problem,
      file: source.file,
      line: 0,
      column: 0,
      source: "",
      length: 0,
    }));
  const locator = new Locator(source.file, source.text);
  return sortProblems(
    problems.map((problem) => locator.locate(problem, find(problem.path, problem.at))),
  );
}

interface Unfinished {
  readonly data: unknown;
  readonly source: ConfigSource;
  readonly place: Find | null;
  readonly mode: LoadMode;
  readonly env: Environment;
}

async function finish(work: Unfinished): Promise<LoadResult> {
  const { source } = work;
  const fail = (problems: readonly Problem[]): LoadResult => ({
    ok: false,
    source,
    problems: place(source, problems, work.place),
  });
  if (typeof work.data !== "object" || work.data === null || Array.isArray(work.data)) {
    return fail([
      {
        path: [],
        at: "value",
        message: "a configuration is a mapping",
        expected: "keys such as gateway, services and routes",
      },
    ]);
  }
  const expanded = stringPaths(work.data);
  const unset = expandAll(work.data, expanded, work.env);
  let found = configSchema.safeParse(work.data, silent);
  if (
    !found.success &&
    retype(work.data, toProblems(found.error.issues, work.data, configKeys), expanded)
  )
    found = configSchema.safeParse(work.data, silent);
  const baseDir = dirname(resolve(source.file));
  const gone = unset.map((problem) => problem.path);
  if (!found.success || unset.length > 0) {
    const wrong = found.success ? [] : toProblems(found.error.issues, work.data, configKeys);
    const rest = await checkRest(work.data, gone, { baseDir, mode: work.mode });
    return fail([
      ...unset,
      ...wrong.filter((problem) => !gone.some((path) => startsWith(problem.path, path))),
      ...rest,
    ]);
  }
  let config = toConfig(found.data, baseDir, work.mode);
  let problems = await checkAll(config, work.mode);
  // Plugins have schemas of their own, in which a variable may stand for a number, too.
  const ofOptions = problems.filter((problem) => problem.path.includes("plugins"));
  const again = retype(work.data, ofOptions, expanded)
    ? configSchema.safeParse(work.data, silent)
    : found;
  if (again !== found && again.success) {
    config = toConfig(again.data, baseDir, work.mode);
    problems = await checkAll(config, work.mode);
  }
  if (problems.length > 0) return fail(problems);
  return { ok: true, config, source };
}

/** Replaces `${VAR}` in place. What cannot be expanded is a problem. */
function expandAll(data: object, paths: readonly ConfigPath[], env: Environment): Problem[] {
  const problems: Problem[] = [];
  for (const path of paths) {
    const parent = valueAt(data, path.slice(0, -1));
    const key = path.at(-1);
    if (typeof parent !== "object" || parent === null || key === undefined) continue;
    const holder = parent as Record<string | number, unknown>;
    const text = holder[key];
    if (typeof text !== "string") continue;
    const expansion = expandEnv(text, env);
    if (expansion.ok) holder[key] = expansion.text;
    else
      problems.push({
        path,
        at: "value",
        message: expansion.message,
        expected: expansion.expected,
      });
  }
  return problems;
}

/** `port: ${PORT}` is a number though a variable is a text: read again as one where the schema wants one. True when anything changed. */
function retype(
  data: object,
  problems: readonly Problem[],
  expanded: readonly ConfigPath[],
): boolean {
  const known = new Set(expanded.map((path) => path.join("\0")));
  let changed = false;
  for (const { path } of problems) {
    if (!known.has(path.join("\0"))) continue;
    const holder = valueAt(data, path.slice(0, -1)) as Record<string | number, unknown>;
    const key = path.at(-1) ?? "";
    const text = holder[key];
    if (typeof text !== "string") continue;
    if (/^-?\d{1,15}(?:\.\d{1,15})?$/.test(text)) holder[key] = Number(text);
    else if (text === "true" || text === "false") holder[key] = text === "true";
    else continue;
    changed = true;
  }
  return changed;
}

function stringPaths(data: unknown, path: ConfigPath = [], found: ConfigPath[] = []): ConfigPath[] {
  if (typeof data === "string") {
    if (data.includes("${")) found.push(path);
  } else if (Array.isArray(data))
    data.forEach((item, index) => stringPaths(item, [...path, index], found));
  else if (typeof data === "object" && data !== null)
    for (const [key, item] of Object.entries(data)) stringPaths(item, [...path, key], found);
  return found;
}

function formatOf(file: string): ConfigSource["format"] {
  const extension = extname(file).toLowerCase();
  if (extension === ".json") return "json";
  return [".ts", ".mts", ".js", ".mjs"].includes(extension) ? "module" : "yaml";
}

/** Reads no more than the largest file that is taken, whatever the file claims to be. */
async function readText(
  path: string,
): Promise<{ ok: true; text: string } | { ok: false; problem: Problem }> {
  const fail = (message: string, expected: string) => ({
    ok: false as const,
    problem: { path: [], at: "value" as const, message, expected },
  });
  try {
    const handle = await open(path, "r");
    try {
      const info = await handle.stat();
      if (!info.isFile()) return fail("this is not a file", "a configuration file");
      if (info.size > largestBytes)
        return fail(
          `the file is too large: ${Math.ceil(info.size / 1024 / 1024)} MiB`,
          `at most ${largestBytes / 1024 / 1024} MiB`,
        );
      const bytes = await handle.readFile();
      return {
        ok: true,
        text: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes),
      };
    } finally {
      await handle.close();
    }
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT")
      return fail("the file does not exist", "a configuration file; -c FILE names another");
    if (code === "EACCES") return fail("the file may not be read", "read permission");
    if (code === "EISDIR") return fail("this is a folder", "a configuration file");
    if (code === "ERR_ENCODING_INVALID_ENCODED_DATA")
      return fail("the file is not UTF-8", "a text file in UTF-8");
    return fail(
      `the file cannot be read: ${error instanceof Error ? error.message : String(error)}`,
      "a readable file",
    );
  }
}
