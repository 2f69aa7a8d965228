/** Which plugins a route uses: the global list, then its own, the nearest of the same id winning. */

import type { PluginUse } from "../config.ts";

/** The name a use is known by on its route. */
export function useId(use: PluginUse): string {
  return use.id ?? use.use;
}

/** What one use takes the place of another by: two limits with different names are two. */
export function placeKey(use: PluginUse): string {
  const { options } = use;
  const named = typeof options === "object" && options !== null && "name" in options;
  return use.id ?? (named ? `${use.use}/${String(options.name)}` : use.use);
}

/**
 * Merges the global list with a route's. A route's use replaces a global one of the same id where that stands, unless
 * the global one is enforced; `enabled: false` takes it away. Disabled uses are left out of the result.
 */
export function mergeUses(
  global: readonly PluginUse[],
  own: readonly PluginUse[],
): readonly PluginUse[] {
  const nearest = new Map(own.map((use) => [placeKey(use), use]));
  const merged: PluginUse[] = [];
  for (const use of global) {
    const replacement = nearest.get(placeKey(use));
    if (replacement === undefined) merged.push(use);
    else {
      merged.push(use.enforced ? use : replacement);
      nearest.delete(placeKey(use));
    }
  }
  merged.push(...own.filter((use) => nearest.get(placeKey(use)) === use));
  return merged.filter((use) => use.enabled);
}
