/** Says what is wrong with the options of a plugin in the same words as the rest of the file, when its schema is one of zod 4. */

import type { z } from "zod";
import type { ConfigPath, Problem } from "../config.ts";
import { silent, toProblems, type KnownKeys } from "./issues.ts";
import { keysOf } from "../json-schema.ts";

/** `base` is where the options stand. Null: the schema is of another library, or has no complaint. */
export async function explainOptions(
  schema: unknown,
  options: unknown,
  base: ConfigPath,
): Promise<Problem[] | null> {
  if (!isZod(schema)) return null;
  const found = await schema.safeParseAsync(options, silent);
  if (found.success) return null;
  const problems = toProblems(found.error.issues, options, careful(keysOf(schema)));
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
