/** Turns the schema's issues into problems in plain words. */

import type { z } from "zod";
import type { ConfigPath, Problem } from "../config.ts";
import { isSecretPath } from "./problems.ts";
import { orList, show, suggestedUnit } from "../schema/scalars.ts";
import type { IssueParams } from "../schema/scalars.ts";
import { didYouMean, didYouMeanKey } from "../suggest.ts";

/** Per-parse messages are empty, so that a message that is there was written by the schema. */
export const silent = { error: () => "" };

/** What the schema knows, for suggestions. */
export interface KnownKeys {
  /** The keys that may stand in the mapping at a path. */
  keysAt(path: ConfigPath): readonly string[];
  /** Where below that mapping the key would be right, as people write it; null: nowhere near. */
  placeBelow(path: ConfigPath, key: string): string | null;
}

/** Nothing is suggested. */
export const nothingKnown: KnownKeys = { keysAt: () => [], placeBelow: () => null };

export function toProblems(
  issues: readonly z.core.$ZodIssue[],
  data: unknown,
  known: KnownKeys,
): Problem[] {
  const problems = issues.flatMap((issue) => problemsOf(issue, [], data, known));
  // `prt: 80` is one mistake, not an unknown key and a missing "port".
  const misspelt = new Set(
    problems
      .filter((problem) => problem.at === "key" && problem.message.startsWith("unknown key"))
      .map((problem) => problem.path.slice(0, -1).join("\0")),
  );
  return problems.filter((problem) => {
    if (problem.missing !== true) return true;
    const input = valueAt(data, problem.path);
    return !misspelt.has(
      (input === undefined ? problem.path.slice(0, -1) : problem.path).join("\0"),
    );
  });
}

interface Finding extends Problem {
  /** Something that should be there is not. */
  readonly missing?: boolean;
}

function problemsOf(
  issue: z.core.$ZodIssue,
  base: ConfigPath,
  data: unknown,
  known: KnownKeys,
): Finding[] {
  const path: ConfigPath = [
    ...base,
    ...issue.path.map((segment) => (typeof segment === "number" ? segment : String(segment))),
  ];
  const input = valueAt(data, path);
  switch (issue.code) {
    case "unrecognized_keys": {
      return issue.keys.map((key) => unknownKey(path, key, known));
    }
    case "invalid_union": {
      const branch = likelyBranch(issue.errors);
      if (branch !== null) return branch.flatMap((inner) => problemsOf(inner, path, data, known));
      return [wrong(path, input, issue.message === "" ? unionWords(issue.errors) : issue.message)];
    }
    case "invalid_key":
      return issue.issues.map((inner) => {
        const params =
          inner.code === "custom" ? (inner.params as IssueParams | undefined) : undefined;
        const expected = params?.expected ?? inner.message;
        return {
          path,
          at: "key",
          message: params === undefined ? `${show(path.at(-1))} is not a good name` : inner.message,
          ...(expected === "" ? {} : { expected }),
        };
      });
    case "invalid_element":
      return issue.issues.flatMap((inner) => problemsOf(inner, path, data, known));
    case "custom": {
      const params: IssueParams = issue.params ?? {};
      const suggestion =
        params.unit === undefined ? params.suggestion : suggestedUnit(params.unit, String(input));
      return [
        {
          path,
          at: params.at ?? "value",
          message: issue.message,
          ...(params.missing === true ? { missing: true } : {}),
          ...(params.expected === undefined ? {} : { expected: params.expected }),
          ...(suggestion === undefined || suggestion === null ? {} : { suggestion }),
        },
      ];
    }
    case "invalid_type":
      return [wrong(path, input, issue.message === "" ? typeWords(issue.expected) : issue.message)];
    case "invalid_value":
      return [wrongWord(path, input, issue)];
    default:
      return [wrong(path, input, issue.message === "" ? boundWords(issue) : issue.message)];
  }
}

/** Bounds that a schema states without words of its own, as those of plugins do. */
function boundWords(issue: z.core.$ZodIssue): string {
  if (issue.code === "too_small") return `at least ${issue.minimum}${unitOf(issue.origin)}`;
  if (issue.code === "too_big") return `at most ${issue.maximum}${unitOf(issue.origin)}`;
  if (issue.code === "invalid_format") return `a text in the form ${issue.pattern ?? issue.format}`;
  return "";
}

function unitOf(origin: string): string {
  if (origin === "string") return " characters";
  return origin === "array" || origin === "set" ? " items" : "";
}

function unknownKey(path: ConfigPath, key: string, known: KnownKeys): Problem {
  const keys = known.keysAt(path);
  const below = known.placeBelow(path, key);
  const suggestion = didYouMeanKey(key, keys) ?? (below === null ? null : `it belongs in ${below}`);
  return {
    path: [...path, key],
    at: "key",
    message: `unknown key "${key}"`,
    ...(keys.length === 0 ? {} : { expected: `one of ${keys.join(", ")}` }),
    ...(suggestion === null ? {} : { suggestion }),
  };
}

function wrong(path: ConfigPath, input: unknown, expected: string): Finding {
  const rest = expected === "" ? {} : { expected };
  const at = "value";
  if (input === undefined && path.length > 0)
    return { path, at, message: `"${path.at(-1)}" is missing`, missing: true, ...rest };
  if (input === null) return { path, at, message: "this is empty", ...rest };
  if (typeof input === "number" && expected.startsWith("a duration")) {
    const suggestion = `did you mean "${input}${input < 1000 ? "s" : "ms"}"?`;
    return { path, at, message: `${input} has no unit`, ...rest, suggestion };
  }
  const secret = isSecretPath(path);
  const isBare = typeof input === "number" || typeof input === "boolean";
  const quote = isBare && /\b(?:name|id|host|group|token|expression|in quotes)\b/.test(expected);
  return {
    path,
    at,
    message: `${secret ? "this" : show(input)} cannot stand here`,
    ...rest,
    ...(quote ? { suggestion: secret ? "put it in quotes" : `put it in quotes: "${input}"` } : {}),
  };
}

/** A word that is none of a few. */
function wrongWord(path: ConfigPath, input: unknown, issue: z.core.$ZodIssueInvalidValue): Finding {
  const words = issue.values.map(String);
  const found = wrong(path, input, issue.message === "" ? orList(words) : issue.message);
  const suggestion = typeof input === "string" ? didYouMean(input, words) : null;
  return suggestion === null ? found : { ...found, suggestion };
}

/** What a union without words of its own would have taken. */
function unionWords(branches: readonly (readonly z.core.$ZodIssue[])[]): string {
  const words = branches.flatMap((issues) => {
    const [first] = issues;
    if (first === undefined) return [];
    if (first.message !== "") return [first.message];
    if (first.code === "invalid_value") return [orList(first.values.map(String))];
    return first.code === "invalid_type" ? [typeWords(first.expected)] : [];
  });
  return [...new Set(words)].filter((word) => word !== "").join(", or ");
}

/** The branch of a union that the value was meant for: the only one whose type fits at the top, else the deepest failure. */
function likelyBranch(
  branches: readonly (readonly z.core.$ZodIssue[])[],
): readonly z.core.$ZodIssue[] | null {
  const fitting = branches.filter(
    (issues) =>
      issues.length > 0 &&
      !issues.some(
        (issue) =>
          issue.path.length === 0 &&
          (issue.code === "invalid_type" || issue.code === "invalid_value"),
      ),
  );
  const nested = fitting.filter(
    (issues) =>
      !issues.every(
        (issue) =>
          issue.code === "invalid_union" &&
          likelyBranch(issue.errors) === null &&
          issue.path.length === 0,
      ),
  );
  return nested[0] ?? null;
}

function typeWords(expected: string): string {
  switch (expected) {
    case "object":
    case "record":
      return "a mapping";
    case "array":
      return "a list";
    case "string":
      return "a text";
    case "int":
    case "number":
      return "a number";
    case "boolean":
      return "true or false";
    default:
      return "";
  }
}

/** What stands at a path of plain data; one object where a list is allowed is its item 0. */
export function valueAt(data: unknown, path: ConfigPath): unknown {
  let value = data;
  for (const segment of path) {
    if (typeof value !== "object" || value === null) return undefined;
    if (!Array.isArray(value) && segment === 0 && !Object.hasOwn(value, "0")) continue;
    value = Object.hasOwn(value, segment)
      ? (value as Record<string | number, unknown>)[segment]
      : undefined;
  }
  return value;
}
