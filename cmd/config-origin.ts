/** Where a process gets its configuration from: a file, a text in memory, or what was put through the admin API. */

import type { Config, Problem } from "../control/config.ts";
import { loadConfig, locate, parseConfigText, type LocatedProblem } from "../control/load.ts";

/** A configuration that was read and is in itself right. */
export interface Loaded {
  readonly config: Config;
  /** As shown by the admin API. */
  readonly origin: string;
  /** Gives problems that are found later their place. */
  locate(problems: readonly Problem[]): LocatedProblem[];
}

export type Loading =
  | { readonly ok: true; readonly loaded: Loaded }
  | { readonly ok: false; readonly problems: readonly LocatedProblem[] };

export type LoadMode = "gateway" | "mesh" | "check";

/** Reads the configuration; again on each reload. */
export interface ConfigOrigin {
  /** The file to watch; null when there is none. */
  readonly file: string | null;
  /** What stands for it in messages. */
  readonly name: string;
  load(): Promise<Loading>;
  /** The same for another text, as `PUT /config` brings it. */
  parse(text: string): Promise<Loading>;
}

/** A file, read with the environment of this process. */
export function fromFile(file: string, mode: LoadMode, env: NodeJS.ProcessEnv): ConfigOrigin {
  return {
    file,
    name: file,
    load: async () => toLoading(await loadConfig(file, { mode, env }), file),
    parse: (text) => parse(text, "PUT /config", { file, mode, env }),
  };
}

/** A configuration made by the process itself; relative paths start in the working directory. */
export function fromValue(name: string, value: object, mode: LoadMode): ConfigOrigin {
  return {
    file: null,
    name,
    load: () => parse(JSON.stringify(value), name, { file: name, mode, env: {} }),
    parse: (text) => parse(text, "PUT /config", { file: name, mode, env: {} }),
  };
}

async function parse(
  text: string,
  origin: string,
  options: { readonly file: string; readonly mode: LoadMode; readonly env: NodeJS.ProcessEnv },
): Promise<Loading> {
  return toLoading(await parseConfigText(text, { ...options, format: "yaml" }), origin);
}

function toLoading(result: Awaited<ReturnType<typeof loadConfig>>, origin: string): Loading {
  if (!result.ok) return { ok: false, problems: result.problems };
  const { config, source } = result;
  return {
    ok: true,
    loaded: { config, origin, locate: (problems) => locate(source, problems) },
  };
}
