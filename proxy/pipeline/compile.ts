/** Turns the plugins of a route into a chain: their order resolved, absent hooks dropped, once per configuration. */

import { stages } from "./plugin.ts";
import { toBytes } from "./units.ts";
import type { BodyStep, Chain, PluginInstance, Step } from "./chain.ts";
import type { BodyMode, Hooks, Mode } from "./plugin.ts";

/** The plugins of a list cannot form a chain. `pluginId` is the one to blame. */
export class ChainError extends Error {
  readonly pluginId: string;
  constructor(pluginId: string, message: string) {
    super(message);
    this.name = "ChainError";
    this.pluginId = pluginId;
  }
}

/**
 * Null for an empty list.
 * @param instances in list order: global ones, then the route's own
 * @param known names that `before` and `after` may use without being on this list, since other lists have them
 * @throws ChainError on a plugin that does not run in this mode, an unknown name, a cycle, an order against the stages,
 *   or a slot that nobody before provides
 */
export function compileChain(
  instances: readonly PluginInstance[],
  mode: Mode,
  known: ReadonlySet<string> = new Set(),
): Chain | null {
  if (instances.length === 0) return null;
  const plugins = sortInstances(instances, mode, known);
  const backwards = plugins.toReversed();
  return {
    mode,
    plugins,
    conditional: plugins.some(({ when }) => when !== null),
    connection: steps(plugins, plugins, "connection"),
    early: steps(plugins, plugins, "early"),
    request: steps(plugins, plugins, "request"),
    requestBody: bodySteps(plugins, plugins, "requestBody"),
    attempt: steps(plugins, plugins, "attempt"),
    attemptResult: steps(plugins, plugins, "attemptResult"),
    response: steps(plugins, backwards, "response"),
    responseBody: bodySteps(plugins, backwards, "responseBody"),
    error: steps(plugins, backwards, "error"),
    done: steps(plugins, backwards, "done"),
  };
}

/** In run order. Parameters and errors are those of {@link compileChain}. */
export function sortInstances(
  instances: readonly PluginInstance[],
  mode: Mode,
  known: ReadonlySet<string>,
): readonly PluginInstance[] {
  for (const { id, definition } of instances) {
    const declared = definition.modes ?? ["gateway"];
    if (!declared.includes(mode)) {
      throw new ChainError(id, `plugin ${id} runs in ${declared.join(", ")} only, not in ${mode}`);
    }
  }
  const plugins = inOrder(instances, known);
  assertSlots(plugins);
  return plugins;
}

/** Stage, then before/after, then list order: the earliest of the list among those that nothing holds back goes first. */
function inOrder(
  instances: readonly PluginInstance[],
  known: ReadonlySet<string>,
): PluginInstance[] {
  const earlier = instances.map(() => new Set<number>());
  instances.forEach((plugin, index) => {
    const { before = [], after = [] } = plugin.definition;
    for (const name of [...before, ...plugin.before]) {
      for (const other of named(instances, name)) earlier[other]!.add(index);
    }
    for (const name of [...after, ...plugin.after]) {
      for (const other of named(instances, name)) earlier[index]!.add(other);
    }
    for (const name of [...plugin.before, ...plugin.after]) {
      if (named(instances, name).length === 0 && !known.has(name)) {
        throw new ChainError(
          plugin.id,
          `plugin ${plugin.id} is ordered by ${JSON.stringify(name)}, which is no plugin here`,
        );
      }
    }
  });
  instances.forEach((plugin, index) => {
    for (const other of earlier[index]!) {
      if (stageOf(instances[other]!) > stageOf(plugin)) {
        throw new ChainError(
          plugin.id,
          `${instances[other]!.id} cannot run before ${plugin.id}: stage ${instances[other]!.stage} comes after stage ${plugin.stage}`,
        );
      }
    }
  });
  const left = new Set(instances.keys());
  const sorted: PluginInstance[] = [];
  for (const stage of stages) {
    const here = [...left].filter((index) => instances[index]!.stage === stage);
    while (here.length > 0) {
      const at = here.findIndex(
        (index) => !here.some((other) => other !== index && earlier[index]!.has(other)),
      );
      if (at === -1) {
        const names = here.map((index) => instances[index]!.id).join(", ");
        throw new ChainError(instances[here[0]!]!.id, `before and after of ${names} form a circle`);
      }
      sorted.push(instances[here[at]!]!);
      here.splice(at, 1);
    }
  }
  return sorted;
}

function named(instances: readonly PluginInstance[], name: string): number[] {
  return [...instances.keys()].filter(
    (index) => instances[index]!.id === name || instances[index]!.name === name,
  );
}

function stageOf(plugin: PluginInstance): number {
  return stages.indexOf(plugin.stage);
}

/** A slot counts as filled only by one that always runs before: no `when`, failing closed. */
function assertSlots(plugins: readonly PluginInstance[]): void {
  plugins.forEach((plugin, index) => {
    for (const slot of plugin.definition.requires ?? []) {
      const isProvided = plugins
        .slice(0, index)
        .some(
          ({ definition, when, onError }) =>
            when === null &&
            onError === "closed" &&
            (definition.provides ?? []).some((other) => other === slot),
        );
      if (!isProvided) {
        throw new ChainError(
          plugin.id,
          `plugin ${plugin.id} needs ${slot.name}, which no plugin before it provides without a condition`,
        );
      }
    }
  });
}

function steps<Name extends keyof Hooks>(
  plugins: readonly PluginInstance[],
  order: readonly PluginInstance[],
  name: Name,
): Step<NonNullable<Hooks[Name]>>[] | null {
  const found: Step<NonNullable<Hooks[Name]>>[] = [];
  for (const plugin of order) {
    const run = plugin.hooks[name];
    if (run !== undefined)
      found.push({ plugin, run: bound(plugin.hooks, run), position: plugins.indexOf(plugin) });
  }
  return found.length === 0 ? null : found;
}

function bodySteps<Name extends "requestBody" | "responseBody">(
  plugins: readonly PluginInstance[],
  order: readonly PluginInstance[],
  name: Name,
): BodyStep<NonNullable<Hooks[Name]>>[] | null {
  const found = steps(plugins, order, name);
  if (found === null) return null;
  return found.map((step) => {
    const { body } = step.plugin.definition;
    const mode: BodyMode<never> | undefined =
      name === "requestBody" ? body?.request : body?.response;
    return {
      plugin: step.plugin,
      run: step.run,
      position: step.position,
      bufferBytes: bufferBytes(step.plugin.id, mode),
    };
  });
}

function bufferBytes(id: string, mode: BodyMode<never> | undefined): number {
  if (mode?.buffer === undefined) return -1;
  const bytes = toBytes(mode.buffer);
  if (bytes === undefined)
    throw new ChainError(
      id,
      `plugin ${id}: body.buffer ${JSON.stringify(mode.buffer)} is not a size`,
    );
  return bytes;
}

/** Hooks of a plain object are called bare; those of a class instance keep their `this`. */
export function bound<Hook>(hooks: object, run: Hook): Hook {
  if (Object.getPrototypeOf(hooks) === Object.prototype || typeof run !== "function") return run;
  return run.bind(hooks) as Hook;
}
