/** Says what is wrong with the options of a plugin in the same words as the rest of the file, when its schema is one of zod 4. */

import type { z } from "zod";
import type { ConfigPath, Problem } from "../config.ts";
import { silent, toProblems, type KnownKeys } from "./issues.ts";
import { keysOf } from "../json-schema.ts";
import { unknownOptions } from "../../proxy/pipeline/options.ts";

/** `base` is where the options stand. Null: the schema is of another library, or has no complaint. */
export async function explainOptions(
  schema: unknown,
  options: unknown,
  base: ConfigPath,
): Promise<Problem[] | null> {
  if (!isZod(schema)) return null;
  const found = await schema.safeParseAsync(options, silent);
  const unknown = unknownOptions(schema, options);
  if (found.success && unknown.length === 0) return null;
  const issues: z.core.$ZodIssue[] = found.success
    ? [{ code: "unrecognized_keys", keys: unknown, path: [], message: "" }]
    : found.error.issues;
  const problems = toProblems(issues, options, careful(keysOf(schema)));
  return problems.map((problem) => ({ ...problem, path: [...base, ...problem.path] }));
}

function isZod(schema: unknown): schema is z.ZodType {
  if (typeof schema !== "object" || schema === null) return false;
  return "_zod" in schema && "safeParseAsync" in schema;
}

/** No suggestion is worth a throw: a schema may hold what JSON Schema cannot say. */
function careful(known: KnownKeys): KnownKeys {
  const or = <T>(read: () => T, fallback: T): T => {
    try {
      return read();
    } catch {
      return fallback;
    }
  };
  return {
    keysAt: (path) => or(() => known.keysAt(path), []),
    placeBelow: (path, key) => or(() => known.placeBelow(path, key), null),
  };
}
