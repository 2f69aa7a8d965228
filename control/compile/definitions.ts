/** Finds the plugin behind a name in a configuration: a built-in, a local file, or a package. */

import { isAbsolute } from "node:path";
import { builtInNames, futureNames, loadBuiltIn } from "../../plugins/registry.ts";
import { parseOptions } from "../../proxy/pipeline/options.ts";
import { modes, stages, type AnyPlugin, type Mode } from "../../proxy/pipeline/plugin.ts";
import type { Config, ConfigPath, PluginUse, Problem } from "../config.ts";
import { didYouMean } from "../suggest.ts";
import { explainOptions } from "../load/option-problems.ts";
import { importModule } from "./modules.ts";
import { reasonInCode, reasonOf } from "./problems.ts";

export type Definition = AnyPlugin;

/** The definitions that a configuration uses; what could not be loaded is among the problems. */
export interface Definitions {
  of(use: PluginUse): Definition | null;
  readonly problems: readonly Problem[];
}

/** Imports every plugin that is enabled, each once. */
export async function loadDefinitions(config: Config): Promise<Definitions> {
  const found = new Map<string, Definition>();
  const problems: Problem[] = [];
  for (const use of allUses(config)) {
    if (!use.enabled || found.has(use.use)) continue;
    const definition = await loadDefinition(use, config.baseDir);
    if ("message" in definition) problems.push(definition);
    else found.set(use.use, definition);
  }
  return { of: (use) => found.get(use.use) ?? null, problems };
}

/** Every use of a plugin, in the order of the file. */
export function allUses(config: Config): readonly PluginUse[] {
  return [
    ...config.plugins,
    ...config.routes.flatMap((route) => route.plugins),
    ...listenerUses(config),
  ];
}

function listenerUses(config: Config): readonly PluginUse[] {
  return (config.gateway?.listeners ?? []).flatMap((listener) => listener.plugins);
}

/** Where the name of a plugin stands, and its options with it. */
export function placeOf(use: PluginUse): ConfigPath {
  return use.optionsPath ?? use.path;
}

async function loadDefinition(use: PluginUse, baseDir: string): Promise<Definition | Problem> {
  const name = use.use;
  const builtIn = await loadBuiltIn(name);
  if (builtIn !== null) return builtIn;
  const problem = (message: string, expected?: string): Problem => ({
    path: placeOf(use),
    at: "key",
    message,
    ...(expected === undefined ? {} : { expected }),
  });
  if (futureNames.includes(name)) return problem(`the plugin "${name}" is not supported yet`);
  let loaded: Readonly<Record<string, unknown>>;
  try {
    loaded = await importModule(name, baseDir);
  } catch (error) {
    if (isAbsolute(name))
      return problem(`the plugin ${name} cannot be loaded: ${reasonInCode(error)}`);
    const suggestion = didYouMean(name, builtInNames);
    return {
      ...problem(
        isNotFound(error)
          ? `no plugin is named "${name}"`
          : `the plugin "${name}" cannot be loaded: ${reasonOf(error)}`,
        `${builtInNames.join(", ")}, a file such as ./plugins/tenant.ts, or an installed package`,
      ),
      ...(suggestion === null ? {} : { suggestion }),
    };
  }
  const wrong = definitionProblem(loaded["default"]);
  if (wrong !== null) {
    return problem(`${name} is no plugin: ${wrong}`, "export default definePlugin({ ... })");
  }
  return loaded["default"] as Definition;
}

function isNotFound(error: unknown): boolean {
  return (error as NodeJS.ErrnoException | null)?.code === "ERR_MODULE_NOT_FOUND";
}

/** What a default export lacks to be a plugin; null when nothing. */
function definitionProblem(value: unknown): string | null {
  if (value === undefined) return "it has no default export";
  if (typeof value !== "object" || value === null) return "its default export is no object";
  const { name, stage, setup, modes: runs, apiVersion } = value as Record<string, unknown>;
  if (typeof name !== "string" || name === "") return "it has no name";
  if (!(stages as readonly unknown[]).includes(stage)) {
    return `its stage ${JSON.stringify(stage)} is none of ${stages.join(", ")}`;
  }
  if (typeof setup !== "function") return "it has no setup function";
  if (apiVersion !== undefined && apiVersion !== 1) {
    return `it is written for version ${String(apiVersion)} of the plugin API, this is version 1`;
  }
  const known: readonly unknown[] = modes;
  if (runs !== undefined && !(Array.isArray(runs) && runs.every((mode) => known.includes(mode)))) {
    return `its modes are not among ${modes.join(", ")}`;
  }
  return null;
}

/** True when the plugin may run on that side. */
export function runsIn(definition: Definition, mode: Mode): boolean {
  return (definition.modes ?? ["gateway"]).includes(mode);
}

/** True when the plugin has hooks for exchanges (`http`), or for connections that carry none (`tcp`). */
export function serves(definition: Definition, protocol: "http" | "tcp"): boolean {
  return (definition.protocols ?? ["http"]).includes(protocol);
}

/** Plugins on the wrong kind of list, and options of a use that mean nothing there. */
function checkLists(config: Config, definitions: Definitions): Problem[] {
  const problems: Problem[] = [];
  for (const use of [...config.plugins, ...config.routes.flatMap((route) => route.plugins)]) {
    const definition = use.enabled ? definitions.of(use) : null;
    if (definition === null || serves(definition, "http")) continue;
    problems.push({
      path: placeOf(use),
      at: "key",
      message: `the plugin "${definition.name}" is for connections, not for requests`,
      expected: "the list `plugins` of a tcp, tls or auto listener",
    });
  }
  for (const use of listenerUses(config)) {
    const definition = use.enabled ? definitions.of(use) : null;
    if (definition === null) continue;
    if (!serves(definition, "tcp"))
      problems.push({
        path: placeOf(use),
        at: "key",
        message: `the plugin "${definition.name}" is for requests, not for connections`,
        expected: "ip-filter, concurrency, or one made with defineTcpPlugin",
      });
    if (use.when !== null)
      problems.push({
        path: [...use.path, "when"],
        at: "value",
        message: "there is no request to ask about on a connection",
        expected: 'no "when" here',
      });
  }
  return problems;
}

/** Plugins that stand where they cannot run: a global one of a sidecar must run on one of its sides. */
export function checkSides(
  config: Config,
  definitions: Definitions,
  mode: "gateway" | "mesh",
): Problem[] {
  const sides: Mode[] = mode === "gateway" ? ["gateway"] : ["mesh-outbound", "mesh-inbound"];
  const ofRoutes: Mode[] = mode === "gateway" ? ["gateway"] : ["mesh-outbound"];
  const check = (use: PluginUse, wanted: readonly Mode[]): Problem[] => {
    const definition = use.enabled ? definitions.of(use) : null;
    if (definition === null || wanted.some((side) => runsIn(definition, side))) return [];
    const where = (definition.modes ?? ["gateway"]).join(", ");
    return [
      {
        path: placeOf(use),
        at: "key",
        message: `the plugin "${definition.name}" runs in ${where} only, not in ${wanted.join(", ")}`,
      },
    ];
  };
  return [
    ...checkLists(config, definitions),
    ...config.plugins.flatMap((use) => check(use, sides)),
    ...config.routes.flatMap((route) => route.plugins.flatMap((use) => check(use, ofRoutes))),
  ];
}

/** Options against the schemas of their plugins, conditions against the grammar; nothing is set up. */
export async function checkOptions(config: Config, definitions: Definitions): Promise<Problem[]> {
  const problems: Problem[] = [];
  for (const use of allUses(config)) {
    const definition = use.enabled ? definitions.of(use) : null;
    if (definition === null) continue;
    const parsed = await parseOptions(definition, use.options);
    if (!parsed.ok) {
      const explained = await explainOptions(definition.config, use.options, placeOf(use));
      problems.push(...(explained ?? parsed.issues.map((issue) => optionProblem(use, issue))));
    }
    if (use.when === null) continue;
    const { compileWhen } = await import("../../proxy/pipeline/expression.ts");
    try {
      compileWhen(use.when);
    } catch (error) {
      problems.push({ path: [...use.path, "when"], at: "value", message: reasonOf(error) });
    }
  }
  return problems;
}

/** An issue with options, at its place in the file. */
export function optionProblem(
  use: PluginUse,
  issue: { readonly path: ConfigPath; readonly message: string },
): Problem {
  const unknown = issue.message.startsWith("unknown option ");
  return {
    path: [...placeOf(use), ...issue.path],
    at: unknown ? "key" : "value",
    message: issue.message,
  };
}
