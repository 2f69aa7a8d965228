/** Checks a plugin's options against its schema. */

import type { AnyPlugin, StandardIssue } from "./plugin.ts";

/** Something wrong in the options of a plugin; `path` starts at the options. */
export interface OptionIssue {
  readonly path: readonly (string | number)[];
  readonly message: string;
}
export type ParsedOptions =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly issues: readonly OptionIssue[] };

/** Options that are absent count as `{}`. A plugin without a schema takes none. */
export async function parseOptions(
  definition: AnyPlugin,
  options: unknown,
): Promise<ParsedOptions> {
  const given = options ?? {};
  if (definition.config === undefined) {
    const isEmpty = typeof given === "object" && Object.keys(given).length === 0;
    if (isEmpty) return { ok: true, value: undefined };
    return {
      ok: false,
      issues: [{ path: [], message: `plugin ${definition.name} takes no options` }],
    };
  }
  const result = await definition.config["~standard"].validate(given);
  if (result.issues !== undefined) return { ok: false, issues: result.issues.flatMap(toIssues) };
  const unknown = unknownOptions(definition.config, given);
  if (unknown.length > 0)
    return { ok: false, issues: unknown.map((key) => unknownOption([], key)) };
  return { ok: true, value: result.value };
}

/** What a plain `z.object` of zod 4 would drop in silence: in a configuration that is a mistyped option. */
export function unknownOptions(schema: unknown, given: unknown): string[] {
  const { def } = (schema as { _zod?: { def?: ObjectDefinition } } | undefined)?._zod ?? {};
  if (def?.type !== "object" || def.catchall !== undefined || def.shape === undefined) return [];
  if (typeof given !== "object" || given === null) return [];
  const { shape } = def;
  return Object.keys(given).filter((key) => !Object.hasOwn(shape, key));
}

/** The part of zod's own description that tells a plain object schema from a strict or a loose one. */
interface ObjectDefinition {
  readonly type?: unknown;
  readonly catchall?: unknown;
  readonly shape?: object;
}

function toIssues(issue: StandardIssue): OptionIssue[] {
  const path = (issue.path ?? []).map((part) => {
    const key = typeof part === "object" ? part.key : part;
    return typeof key === "number" ? key : String(key);
  });
  // zod reports unknown keys together and at the object: one issue each, at the key
  const { code, keys } = issue as { code?: unknown; keys?: unknown };
  if (code === "unrecognized_keys" && Array.isArray(keys)) {
    return keys.map((key) => unknownOption(path, String(key)));
  }
  return [{ path, message: issue.message }];
}

function unknownOption(path: OptionIssue["path"], key: string): OptionIssue {
  return { path: [...path, key], message: `unknown option ${JSON.stringify(key)}` };
}
