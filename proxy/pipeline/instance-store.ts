/** Sets plugins up once per distinct configuration, lends them to snapshots, and closes those that none uses any more. */

import { createHost } from "./host.ts";
import { parseOptions } from "./options.ts";
import { Trip } from "./trip.ts";
import { toDurationMs } from "./units.ts";
import type { HostFacts, HostSource, PluginHost } from "./host.ts";
import type { OptionIssue } from "./options.ts";
import type { PluginInstance, PluginWatch } from "./chain.ts";
import type { Ctx, Hooks, Mode, AnyPlugin, RequestHead, Stage } from "./plugin.ts";

/** How long `setup` may take, in milliseconds. */
export const setupTimeoutMs = 10_000;
/** How long a promise of a hook may take unless the plugin says otherwise, in milliseconds. */
export const hookTimeoutMs = 5000;

/** One use of a plugin, after defaults. */
export interface InstanceSpec {
  readonly definition: AnyPlugin;
  /** Default: the plugin's name. */
  readonly id: string;
  /** As written; checked against the definition's schema here. */
  readonly options: unknown;
  readonly mode: Mode;
  /** Null for the list of requests that match no route. */
  readonly route: string | null;
  /** Null: the definition's. */
  readonly stage: Stage | null;
  /** Null: always. CEL. */
  readonly when: string | null;
  /** Null: the definition's. */
  readonly onError: "open" | "closed" | null;
  readonly before: readonly string[];
  readonly after: readonly string[];
}

/** A plugin could not be set up; `issues` are set when its options are wrong. */
export class SetupError extends Error {
  readonly pluginId: string;
  readonly part: "options" | "when" | "setup";
  readonly issues: readonly OptionIssue[];
  constructor(
    pluginId: string,
    part: "options" | "when" | "setup",
    message: string,
    issues: readonly OptionIssue[] = [],
  ) {
    super(message);
    this.name = "SetupError";
    this.pluginId = pluginId;
    this.part = part;
    this.issues = issues;
  }
}

/** What the admin API shows of an instance. */
export interface InstanceReport {
  readonly id: string;
  readonly name: string;
  readonly stage: Stage;
  readonly mode: Mode;
  readonly route: string | null;
  readonly hooks: readonly string[];
  readonly onError: "open" | "closed";
  readonly tripped: boolean;
}

interface Held {
  readonly spec: InstanceSpec;
  readonly facts: HostFacts;
  readonly host: PluginHost;
  readonly ready: Promise<PluginInstance>;
  instance: PluginInstance | null;
  users: number;
}

/** The plugin instances of one worker. */
export class InstanceStore {
  private readonly source: HostSource;
  private readonly held = new Map<string, Held[]>();
  /** Where an instance is held: a snapshot of ten thousand routes gives as many back at once. */
  private readonly places = new Map<
    PluginInstance,
    { readonly key: string; readonly held: Held }
  >();
  private readonly numbers = new WeakMap<object, number>();
  private lastNumber = 0;

  constructor(source: HostSource) {
    this.source = source;
  }

  /**
   * The instance of this use; the same one for equal uses. Each call needs one {@link release}.
   * @throws SetupError
   */
  async acquire(spec: InstanceSpec, facts: HostFacts): Promise<PluginInstance> {
    const key = this.keyOf(spec);
    const rivals = this.held.get(key) ?? [];
    let held = rivals.find((other) => isCurrent(other, facts));
    if (held === undefined) {
      const host = createHost(this.source, facts, {
        id: spec.id,
        mode: spec.mode,
        route: spec.definition.perRoute === true ? spec.route : null,
      });
      held = { spec, facts, host, ready: this.setUp(spec, host), instance: null, users: 0 };
      this.held.set(key, [...rivals, held]);
    }
    held.users++;
    try {
      const instance = await held.ready;
      held.instance = instance;
      this.places.set(instance, { key, held });
      return instance;
    } catch (error) {
      held.users--;
      if (held.users === 0) this.forget(key, held);
      throw error;
    }
  }

  /** Gives one use back; the last one closes the instance. */
  release(instance: PluginInstance): void {
    const place = this.places.get(instance);
    if (place === undefined) return;
    place.held.users--;
    if (place.held.users === 0) this.forget(place.key, place.held);
  }

  /** Closes everything, whoever still uses it: the worker ends. */
  async close(): Promise<void> {
    const all = [...this.held.values()].flat();
    this.held.clear();
    this.places.clear();
    await Promise.all(all.map((held) => this.end(held)));
  }

  list(): InstanceReport[] {
    return [...this.held.values()].flat().flatMap(({ instance, spec, host }) =>
      instance === null
        ? []
        : {
            id: instance.id,
            name: instance.name,
            stage: instance.stage,
            mode: spec.mode,
            route: host.route,
            hooks: Object.keys(instance.hooks),
            onError: instance.onError,
            tripped: instance.trip.tripped,
          },
    );
  }

  private forget(key: string, held: Held): void {
    const left = (this.held.get(key) ?? []).filter((other) => other !== held);
    if (left.length === 0) this.held.delete(key);
    else this.held.set(key, left);
    if (held.instance !== null) this.places.delete(held.instance);
    void this.end(held);
  }

  private async end(held: Held): Promise<void> {
    held.host.close();
    try {
      await held.instance?.hooks.close?.();
    } catch (error) {
      held.host.log.error("closing the plugin failed", { error: String(error) });
    }
  }

  private async setUp(spec: InstanceSpec, host: PluginHost): Promise<PluginInstance> {
    const { definition, id } = spec;
    const parsed = await parseOptions(definition, spec.options);
    if (!parsed.ok) throw new SetupError(id, "options", `options of plugin ${id}`, parsed.issues);
    const when = spec.when === null ? null : await compileCondition(id, spec.when);
    const timeoutMs =
      definition.timeout === undefined ? hookTimeoutMs : toDurationMs(definition.timeout);
    if (timeoutMs === undefined)
      throw new SetupError(id, "setup", `plugin ${id}: timeout is not a duration`);
    const hooks = await setUpInTime(definition, host, parsed.value);
    return {
      id,
      name: definition.name,
      stage: spec.stage ?? definition.stage,
      definition,
      hooks,
      onError: spec.onError ?? definition.onError ?? "closed",
      timeoutMs,
      when,
      before: spec.before,
      after: spec.after,
      trip: new Trip(() => this.source.now()),
      watch: this.watch(definition.name, host),
    };
  }

  private watch(name: string, host: PluginHost): PluginWatch {
    const { source } = this;
    let loggedMs = Number.NEGATIVE_INFINITY;
    let unlogged = 0;
    return {
      failed(hook, error) {
        source.pluginError(name);
        const nowMs = source.now();
        if (nowMs - loggedMs < 1000) {
          unlogged++;
          return;
        }
        loggedMs = nowMs;
        const stack = error instanceof Error ? error.stack : String(error);
        host.log.error(`plugin ${host.id} failed in its ${hook} hook`, {
          hook,
          error: stack,
          unlogged,
        });
        unlogged = 0;
      },
      untilTimed: 1,
      took: (seconds) => source.pluginSeconds(name, seconds),
    };
  }

  private keyOf(spec: InstanceSpec): string {
    let number = this.numbers.get(spec.definition);
    if (number === undefined) this.numbers.set(spec.definition, (number = ++this.lastNumber));
    const { id, options, mode, stage, when, onError, before, after } = spec;
    const route = spec.definition.perRoute === true ? spec.route : null;
    return JSON.stringify([
      number,
      id,
      mode,
      route,
      stage,
      when,
      onError,
      before,
      after,
      canonical(options),
    ]);
  }
}

/** True when nothing that the plugin looked at has changed. */
function isCurrent(held: Held, facts: HostFacts): boolean {
  for (const name of held.host.touched) {
    if (
      held.facts[name] !== facts[name] &&
      canonicalText(held.facts[name]) !== canonicalText(facts[name])
    )
      return false;
  }
  return true;
}

async function compileCondition(
  id: string,
  source: string,
): Promise<(req: RequestHead, ctx: Ctx) => boolean> {
  const { compileWhen } = await import("./expression.ts");
  try {
    return compileWhen(source);
  } catch (error) {
    throw new SetupError(id, "when", error instanceof Error ? error.message : String(error));
  }
}

async function setUpInTime(
  definition: AnyPlugin,
  host: PluginHost,
  options: unknown,
): Promise<Hooks> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () => reject(new Error(`no result within ${setupTimeoutMs} ms`)),
      setupTimeoutMs,
    );
  });
  try {
    const hooks = await Promise.race([definition.setup(options as never, host), deadline]);
    if (typeof hooks !== "object" || hooks === null) throw new Error("setup returned no hooks");
    return hooks;
  } catch (error) {
    host.close();
    const reason = error instanceof Error ? error.message : String(error);
    throw new SetupError(host.id, "setup", `plugin ${host.id}: setup failed: ${reason}`);
  } finally {
    clearTimeout(timer);
  }
}

function canonicalText(value: unknown): string {
  return JSON.stringify(canonical(value));
}

/** The same value for options that differ only in the order of their keys. */
function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(
    Object.entries(value)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, inner]) => [key, canonical(inner)]),
  );
}
