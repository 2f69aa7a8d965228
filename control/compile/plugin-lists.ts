/** Borrows plugin instances for lists of uses, makes chains of them, and gives all of them back at once. */

import type { Config, PluginUse, Problem } from "../config.ts";
import type { PluginInstance } from "../../proxy/pipeline/chain.ts";
import { ChainError, compileChain } from "../../proxy/pipeline/compile.ts";
import { compileTcpChain, type TcpChain } from "../../proxy/pipeline/tcp-chain.ts";
import type { Chain } from "../../proxy/pipeline/chain.ts";
import { ConsumerIndex } from "../../proxy/pipeline/consumers.ts";
import type { HostFacts } from "../../proxy/pipeline/host.ts";
import { SetupError, type InstanceStore } from "../../proxy/pipeline/instance-store.ts";
import type { Mode, Stage } from "../../proxy/pipeline/plugin.ts";
import {
  allUses,
  optionProblem,
  placeOf,
  runsIn,
  serves,
  type Definition,
  type Definitions,
} from "./definitions.ts";
import { reasonOf } from "./problems.ts";
import { useId } from "./uses.ts";

export class PluginLists {
  readonly problems: Problem[] = [];
  private readonly store: InstanceStore;
  private readonly definitions: Definitions;
  private readonly facts: HostFacts;
  private readonly known: ReadonlySet<string>;
  private readonly borrowed: PluginInstance[] = [];
  /** Instances of uses that no route has for itself: asked of the store once. */
  private readonly common = new Map<PluginUse, Map<Mode, Promise<PluginInstance | null>>>();

  constructor(config: Config, store: InstanceStore, definitions: Definitions) {
    this.store = store;
    this.definitions = definitions;
    this.facts = {
      consumers: new ConsumerIndex(config.consumers),
      plans: Object.fromEntries(
        Object.entries(config.plans).map(([name, { limit, quota }]) => [
          name,
          quota === undefined ? limit : { ...limit, quota },
        ]),
      ),
      stores: config.stores,
      baseDir: config.baseDir,
    };
    this.known = new Set(
      allUses(config).flatMap((use) => [useId(use), definitions.of(use)?.name ?? use.use]),
    );
  }

  /**
   * The chain of a list; null when it is empty or has problems, which are then among {@link problems}.
   * @param route null for requests that match no route
   */
  async chain(uses: readonly PluginUse[], mode: Mode, route: string | null): Promise<Chain | null> {
    const instances: PluginInstance[] = [];
    const byInstance = new Map<PluginInstance, PluginUse>();
    for (const use of uses) {
      const definition = this.definitions.of(use);
      // a sidecar has two sides: on each run the plugins that can
      if (definition === null || !runsIn(definition, mode) || !serves(definition, "http")) continue;
      const instance = await this.instance(use, definition, mode, route);
      if (instance === null) continue;
      instances.push(instance);
      byInstance.set(instance, use);
    }
    try {
      return compileChain(instances, mode, this.known);
    } catch (error) {
      const blamed =
        error instanceof ChainError ? instances.find(({ id }) => id === error.pluginId) : undefined;
      const use = blamed === undefined ? uses[0] : byInstance.get(blamed);
      this.problems.push({ path: use?.path ?? [], at: "value", message: reasonOf(error) });
      return null;
    }
  }

  /** The plugins of a listener's connections; null when there are none, or they have problems, as for {@link chain}. */
  async tcpChain(uses: readonly PluginUse[], listener: string): Promise<TcpChain | null> {
    const instances: PluginInstance[] = [];
    for (const use of uses) {
      const definition = use.enabled ? this.definitions.of(use) : null;
      if (definition === null || !serves(definition, "tcp")) continue;
      const instance = await this.acquire(use, definition, "gateway", `listener:${listener}`);
      if (instance !== null) instances.push(instance);
    }
    try {
      return compileTcpChain(instances, this.known);
    } catch (error) {
      const id = error instanceof ChainError ? error.pluginId : null;
      const use = uses[instances.findIndex((instance) => instance.id === id)] ?? uses[0];
      this.problems.push({ path: use?.path ?? [], at: "value", message: reasonOf(error) });
      return null;
    }
  }

  /** Gives every instance back; those that no later configuration uses are closed. */
  release(): void {
    for (const instance of this.borrowed.splice(0)) this.store.release(instance);
  }

  private instance(
    use: PluginUse,
    definition: Definition,
    mode: Mode,
    route: string | null,
  ): Promise<PluginInstance | null> {
    if (definition.perRoute === true) return this.acquire(use, definition, mode, route);
    let byMode = this.common.get(use);
    if (byMode === undefined) this.common.set(use, (byMode = new Map()));
    let instance = byMode.get(mode);
    if (instance === undefined) {
      byMode.set(mode, (instance = this.acquire(use, definition, mode, route)));
    }
    return instance;
  }

  private async acquire(
    use: PluginUse,
    definition: Definition,
    mode: Mode,
    route: string | null,
  ): Promise<PluginInstance | null> {
    try {
      const instance = await this.store.acquire(
        {
          definition,
          id: use.id ?? definition.name,
          options: use.options,
          mode,
          route,
          stage: use.stage as Stage | null,
          when: use.when,
          onError: use.onError,
          before: use.before,
          after: use.after,
        },
        this.facts,
      );
      this.borrowed.push(instance);
      return instance;
    } catch (error) {
      this.problems.push(...setupProblems(use, error));
      return null;
    }
  }
}

function setupProblems(use: PluginUse, error: unknown): Problem[] {
  if (!(error instanceof SetupError)) {
    return [{ path: placeOf(use), at: "key", message: reasonOf(error) }];
  }
  switch (error.part) {
    case "options":
      return error.issues.map((issue) => optionProblem(use, issue));
    case "when":
      return [{ path: [...use.path, "when"], at: "value", message: error.message }];
    case "setup":
      return [{ path: placeOf(use), at: "key", message: error.message }];
  }
}
