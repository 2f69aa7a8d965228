/** Takes what the schema refused out of a configuration, so that the rest can be checked in the same go: people see all their mistakes at once. */

import type { ConfigPath } from "../config.ts";
import { nothingKnown, silent, toProblems } from "./issues.ts";
import { configSchema } from "../schema.ts";
import type { ParsedConfig } from "../schema.ts";

export interface Salvaged {
  readonly parsed: ParsedConfig;
  /** The path in the file of a path in `parsed`: list items that were taken out have moved the later ones. */
  toFile(path: ConfigPath): ConfigPath;
  /** What was taken out, as paths in the file. */
  readonly removed: readonly ConfigPath[];
}

const mostRounds = 20;

/** Stands in for what was refused but is named elsewhere: else each use of the name would be a second problem. */
const placeholders: Readonly<Record<string, unknown>> = {
  services: { endpoints: [] },
  policies: {},
  plans: { limit: "1/s" },
};

/** Null: nothing is left to check. `data` is not changed. */
export function salvage(data: object): Salvaged | null {
  const rest = new Remains(structuredClone(data) as Record<string, unknown>);
  for (let round = 0; round < mostRounds; round++) {
    const found = configSchema.safeParse(rest.data, silent);
    if (found.success)
      return { parsed: found.data, toFile: (path) => rest.toFile(path), removed: rest.removed };
    const paths = toProblems(found.error.issues, rest.data, nothingKnown).map(
      (problem) => problem.path,
    );
    if (!rest.remove(paths)) return null;
  }
  return null;
}

class Remains {
  readonly data: Record<string, unknown>;
  readonly removed: ConfigPath[] = [];
  /** For each list that lost items: where its items stood in the file. */
  readonly #origins = new Map<unknown[], number[]>();

  constructor(data: Record<string, unknown>) {
    this.data = data;
  }

  toFile(path: ConfigPath): ConfigPath {
    const out: (string | number)[] = [];
    let value: unknown = this.data;
    for (const segment of path) {
      if (Array.isArray(value) && typeof segment === "number") {
        out.push(this.#origins.get(value)?.[segment] ?? segment);
        value = value[segment];
        continue;
      }
      out.push(segment);
      if (typeof value !== "object" || value === null) continue;
      // One object where a list is allowed.
      if (segment === 0 && !Object.hasOwn(value, "0")) continue;
      value = Object.hasOwn(value, segment)
        ? (value as Record<string, unknown>)[segment]
        : undefined;
    }
    return out;
  }

  /** False: the whole would have to go. */
  remove(paths: readonly ConfigPath[]): boolean {
    const items = new Map<unknown[], Set<number>>();
    for (const path of paths) if (!this.#removeOne(path, items)) return false;
    for (const [list, gone] of items) {
      const origins = this.#origins.get(list) ?? list.map((_, index) => index);
      const kept = list
        .map((item, index) => ({ item, origin: origins[index] ?? index }))
        .filter((_, index) => !gone.has(index));
      list.splice(0, list.length, ...kept.map((one) => one.item));
      this.#origins.set(
        list,
        kept.map((one) => one.origin),
      );
    }
    return true;
  }

  #removeOne(path: ConfigPath, items: Map<unknown[], Set<number>>): boolean {
    let holder: unknown = this.data;
    let last: {
      readonly holder: object;
      readonly key: string | number;
      readonly depth: number;
    } | null = null;
    for (const [depth, segment] of path.entries()) {
      if (typeof holder !== "object" || holder === null) break;
      if (!Array.isArray(holder) && segment === 0 && !Object.hasOwn(holder, "0")) continue;
      if (!Object.hasOwn(holder, segment)) break;
      last = { holder, key: segment, depth };
      holder = (holder as Record<string | number, unknown>)[segment];
    }
    if (last === null) return false;
    this.removed.push(this.toFile(path.slice(0, last.depth + 1)));
    if (Array.isArray(last.holder)) {
      const gone = items.get(last.holder) ?? new Set();
      items.set(last.holder, gone.add(Number(last.key)));
      return true;
    }
    const target = last.holder as Record<string | number, unknown>;
    const group = path[0];
    const placeholder =
      last.depth === 1 && typeof group === "string" ? placeholders[group] : undefined;
    if (placeholder === undefined || target[last.key] === placeholder) delete target[last.key];
    else target[last.key] = placeholder;
    return true;
  }
}
