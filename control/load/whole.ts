/** Everything that is wrong with a configuration though each value is right: names, duplicates, plugin options, missing files. */

import { isAbsolute } from "node:path";
import { builtInNames, futureNames } from "../../plugins/registry.ts";
import { checkReferences } from "../compile/references.ts";
import type { Config, ConfigPath, PluginUse, Problem } from "../config.ts";
import { checkFiles } from "./files.ts";
import { salvage } from "./salvage.ts";
import { checkMode, checkWhole } from "./semantics.ts";
import { didYouMean } from "../suggest.ts";
import { toConfig } from "./to-config.ts";

export type LoadMode = "gateway" | "mesh" | "check";

/** Of a configuration that the schema accepts. One layer after the other: a missing file is no news while the text itself is wrong. */
export async function checkAll(config: Config, mode: LoadMode): Promise<Problem[]> {
  const inText = [
    ...checkWhole(config),
    ...checkReferences(config),
    ...(await checkBuiltIns(config, mode)),
  ];
  if (inText.length > 0) return inText;
  const missing = checkMode(config, mode);
  return missing.length > 0 ? missing : checkFiles(config);
}

/** Of what is left of a configuration when the schema's complaints are taken out; nothing that may follow from them. */
export async function checkRest(
  data: object,
  unset: readonly ConfigPath[],
  options: { readonly baseDir: string; readonly mode: LoadMode },
): Promise<Problem[]> {
  const rest = salvage(data);
  if (rest === null) return [];
  const config = toConfig(rest.parsed, options.baseDir, options.mode);
  const found = [
    ...checkWhole(config),
    ...checkReferences(config),
    ...(await checkBuiltIns(config, options.mode)),
  ];
  const gone = [...rest.removed, ...unset];
  return found
    .map((problem) => ({ ...problem, path: rest.toFile(problem.path) }))
    .filter((problem) => !gone.some((path) => follows(problem.path, path)));
}

/** The admin block is judged as one; an identity that was refused is not missing. */
function follows(path: ConfigPath, gone: ConfigPath): boolean {
  if (startsWith(path, gone) || startsWith(gone, path)) return true;
  // Options that stand one level too high are missing where they belong.
  if (gone.includes("plugins") && startsWith(path, gone.slice(0, -1))) return true;
  if (path[0] === "admin") return gone[0] === "admin";
  return path.at(-1) === "mtls" && gone[0] === "mesh";
}

/** True when `path` is `top`, or below it. */
export function startsWith(path: ConfigPath, top: ConfigPath): boolean {
  return top.every((segment, index) => path[index] === segment);
}

/**
 * Names and options of the built-in plugins. Those in files are checked where they run: this thread lives on over
 * reloads, and would keep the first version of each file.
 */
async function checkBuiltIns(config: Config, mode: LoadMode): Promise<Problem[]> {
  const own = (uses: readonly PluginUse[]): PluginUse[] =>
    uses.filter((use) => !isAbsolute(use.use) && isBuiltIn(use.use));
  const routes = config.routes.map((route) => ({ ...route, plugins: own(route.plugins) }));
  const stripped: Config = { ...config, plugins: own(config.plugins), routes };
  if (stripped.plugins.length === 0 && routes.every((route) => route.plugins.length === 0))
    return [];
  const { checkOptions, checkSides, loadDefinitions } = await import("../compile/definitions.ts");
  const definitions = await loadDefinitions(stripped);
  const side =
    mode === "check"
      ? config.gateway === null && config.mesh !== null
        ? "mesh"
        : "gateway"
      : mode;
  return [
    ...definitions.problems,
    ...(await checkOptions(stripped, definitions)),
    ...checkSides(stripped, definitions, side),
  ];
}

/** A package is left to where it runs, too; a name that is nearly a built-in's is a slip. */
function isBuiltIn(name: string): boolean {
  return (
    builtInNames.includes(name) ||
    futureNames.includes(name) ||
    (!/[@/]/.test(name) && didYouMean(name, builtInNames) !== null)
  );
}
