/** Compiles a configuration into the snapshot that a worker serves from: all of it, or nothing. */

import { setImmediate } from "node:timers/promises";
import type { Config, Problem } from "./config.ts";
import { checkOptions, checkSides, loadDefinitions } from "./compile/definitions.ts";
import { PluginLists } from "./compile/plugin-lists.ts";
import { ConfigProblems, unique } from "./compile/problems.ts";
import { checkReferences } from "./compile/references.ts";
import { checkApps, compileRoute } from "./compile/routes.ts";
import { routesFor, toRule } from "./compile/rules.ts";
import { streamTargets } from "./compile/streams.ts";
import { appKey, serviceSpecs, type TargetEnv } from "./compile/targets.ts";
import { mergeUses } from "./compile/uses.ts";
import { compileAccess, type AccessRules } from "../policies/access.ts";
import type { InstanceStore } from "../proxy/pipeline/instance-store.ts";
import type { Mode } from "../proxy/pipeline/plugin.ts";
import { compileRouter } from "../proxy/route/match.ts";
import type { RouteRule } from "../proxy/route/table.ts";
import type { ServiceSet } from "../proxy/service/set.ts";
import type { Service } from "../proxy/service/service.ts";
import { SnapshotUse, type Plane, type Route, type Snapshot } from "../proxy/snapshot.ts";

export { ConfigProblems } from "./compile/problems.ts";
export { checkReferences } from "./compile/references.ts";

/** What of a worker outlives snapshots. */
export interface BuildEnv extends TargetEnv {
  /** Counts up by one per applied configuration, from 1. */
  readonly version: number;
  readonly services: ServiceSet;
  readonly instances: InstanceStore;
}

/**
 * Builds a snapshot beside the one in effect, which it does not touch: plugins of the same configuration are shared,
 * services keep their identity. One that is given up instead of activated must still be retired (`use.retire()`).
 * Throws {@link ConfigProblems} with everything that is wrong.
 */
export async function buildSnapshot(config: Config, env: BuildEnv): Promise<Snapshot> {
  const definitions = await loadDefinitions(config);
  const problems: Problem[] = [...checkReferences(config), ...definitions.problems];
  const specs = serviceSpecs(config, env, problems);
  if (problems.length > 0) throw new ConfigProblems(problems);
  const prepared = env.services.prepare(specs);
  const lists = new PluginLists(config, env.instances, definitions);
  try {
    const build = { config, lists, services: prepared.services, problems };
    const planes = {
      edge: env.mode === "gateway" ? await buildPlane(build, "gateway") : null,
      outbound: env.mode === "mesh" ? await buildPlane(build, "mesh-outbound") : null,
      inbound: env.mode === "mesh" ? await buildPlane(build, "mesh-inbound") : null,
    };
    const streams = await streamTargets(config, prepared.services, lists);
    problems.push(...lists.problems);
    problems.push(...checkSides(config, definitions, env.mode));
    if (problems.length > 0) throw new ConfigProblems(unique(problems));
    return {
      version: env.version,
      planes,
      services: prepared.services,
      streams,
      activate: () => prepared.activate(),
      use: new SnapshotUse(() => lists.release()),
    };
  } catch (error) {
    lists.release();
    throw error;
  }
}

/**
 * What {@link buildSnapshot} would find wrong, as far as that can be told without setting a plugin up: names, options
 * against their schemas, modes, apps. For `check` and for a configuration that is sent in.
 */
export async function checkConfig(config: Config, mode: "gateway" | "mesh"): Promise<Problem[]> {
  const definitions = await loadDefinitions(config);
  return unique([
    ...checkReferences(config),
    ...definitions.problems,
    ...(await checkOptions(config, definitions)),
    ...(await checkApps(config)),
    ...checkSides(config, definitions, mode),
  ]);
}

/** How long building may keep the thread from its exchanges at a time. */
const BUILD_SLICE_MS = 5;

interface Build {
  readonly config: Config;
  readonly lists: PluginLists;
  readonly services: ReadonlyMap<string, Service>;
  readonly problems: Problem[];
}

async function buildPlane(build: Build, mode: Mode): Promise<Plane> {
  const { config, lists, services, problems } = build;
  const rules: RouteRule<Route>[] = [];
  const key = (name: string): string => (mode === "mesh-inbound" ? appKey : name);
  const parts = { config, mode, problems, service: (name: string) => services.get(key(name)) };
  let sinceMs = performance.now();
  for (const route of routesFor(config, mode)) {
    // the thread that builds also serves: ten thousand routes must not hold its exchanges up
    if (performance.now() - sinceMs > BUILD_SLICE_MS) {
      await setImmediate();
      sinceMs = performance.now();
    }
    const uses = mergeUses(config.plugins, route.plugins);
    const chain = await lists.chain(uses, mode, route.name);
    const compiled = await compileRoute(route, chain, parts);
    if (compiled !== null) rules.push(toRule(route, uses, compiled));
  }
  const unrouted = await lists.chain(mergeUses(config.plugins, []), mode, null);
  return {
    mode,
    router: compileRouter(rules),
    unrouted,
    access: accessOf(config, mode),
    self: config.mesh?.service ?? "gateway",
  };
}

/** The callee's sidecar decides; nobody else does. */
function accessOf(config: Config, mode: Mode): AccessRules | null {
  if (mode !== "mesh-inbound" || config.mesh === null) return null;
  return compileAccess({
    default: config.access?.default ?? "deny",
    rules: config.access?.rules ?? [],
    trustDomain: config.mesh.trustDomain,
  });
}
