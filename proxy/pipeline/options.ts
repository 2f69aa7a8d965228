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
  if (result.issues === undefined) return { ok: true, value: result.value };
  return { ok: false, issues: result.issues.flatMap(toIssues) };
}

function toIssues(issue: StandardIssue): OptionIssue[] {
  const path = (issue.path ?? []).map((part) => {
    const key = typeof part === "object" ? part.key : part;
    return typeof key === "number" ? key : String(key);
  });
  // zod reports unknown keys together and at the object: one issue each, at the key
  const { code, keys } = issue as { code?: unknown; keys?: unknown };
  if (code === "unrecognized_keys" && Array.isArray(keys)) {
    return keys.map((key) => ({
      path: [...path, String(key)],
      message: `unknown option ${JSON.stringify(String(key))}`,
    }));
  }
  return [{ path, message: issue.message }];
}
