/** Problems with their place in a file, and how they are printed. */

import type { ConfigPath, Problem } from "../config.ts";
import type { Span } from "./places.ts";

/** A problem with the place that a person opens in an editor. Line and column count from 1; a column counts UTF-16 units. */
export interface LocatedProblem extends Problem {
  /** As the user named it. */
  readonly file: string;
  /** 0: the file as a whole (it is missing, or it is a program). */
  readonly line: number;
  readonly column: number;
  /** The line's text, secrets hidden; empty when there is none. */
  readonly source: string;
  /** How much of `source` is at fault, from `column`. */
  readonly length: number;
}

/** Places problems in a text, the earliest first. Problems at the same place and with the same text are one. */
export class Locator {
  readonly #file: string;
  readonly #text: string;
  #starts: readonly number[] | null = null;

  constructor(file: string, text: string) {
    this.#file = file;
    this.#text = text;
  }

  locate(problem: Problem, span: Span): LocatedProblem {
    this.#starts ??= lineStarts(this.#text);
    const offset = Math.min(span.offset, this.#text.length);
    let low = 0;
    let high = this.#starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#starts[middle] ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    const start = this.#starts[low] ?? 0;
    const line = this.#text
      .slice(start, this.#starts[low + 1] ?? this.#text.length)
      .replace(/\r?\n$/, "");
    const column = offset - start;
    const length = Math.max(1, Math.min(span.length, line.length - column));
    return {
      path: problem.path,
      at: problem.at,
      message: problem.message,
      ...(problem.expected === undefined ? {} : { expected: problem.expected }),
      ...(problem.suggestion === undefined ? {} : { suggestion: problem.suggestion }),
      file: this.#file,
      line: low + 1,
      column: column + 1,
      source: hideSecrets(isSecret(problem) ? hide(line, column, column + length) : line),
      length,
    };
  }
}

/** The earliest first; one a place and message, however many aliases lead there. */
export function sortProblems(problems: readonly LocatedProblem[]): LocatedProblem[] {
  const seen = new Set<string>();
  return problems
    .filter((problem) => {
      const key = `${problem.line}:${problem.column}:${problem.message}:${problem.line === 0 ? problem.path.join(".") : ""}`;
      return !seen.has(key) && seen.add(key);
    })
    .sort((a, b) => a.line - b.line || a.column - b.column);
}

/**
 * One block a problem, as compilers print it:
 * ```
 * weft.yaml:3:14: timeout: "5 secs" is not a duration
 *   3 |   timeout: 5 secs
 *     |            ^^^^^^
 *   expected: a duration such as 250ms, 5s, 1m or 24h
 *   did you mean "5s"?
 * ```
 * At most 20 blocks; the rest is counted.
 */
export function formatProblems(
  problems: readonly LocatedProblem[],
  options: { readonly color: boolean },
): string {
  const paint = (code: number, text: string): string =>
    options.color ? `\u001b[${code}m${text}\u001b[0m` : text;
  const blocks = problems.slice(0, 20).map((problem) => {
    const place =
      problem.line === 0 ? problem.file : `${problem.file}:${problem.line}:${problem.column}`;
    const lines = [`${paint(1, place)}: ${paint(31, nameAndMessage(problem))}`];
    if (problem.source !== "") lines.push(...excerpt(problem, paint));
    if (problem.expected !== undefined) lines.push(`  expected: ${problem.expected}`);
    if (problem.suggestion !== undefined) lines.push(`  ${paint(36, problem.suggestion)}`);
    return lines.join("\n");
  });
  if (problems.length > blocks.length) blocks.push(`and ${problems.length - blocks.length} more`);
  return blocks.join("\n\n");
}

/** `routes[0].plugins[1].jwt`; empty for the whole file. */
export function pathText(path: Problem["path"]): string {
  let text = "";
  for (const segment of path) {
    if (typeof segment === "number") text += `[${segment}]`;
    else if (/^[\w-]+$/.test(segment)) text += text === "" ? segment : `.${segment}`;
    else text += `[${JSON.stringify(segment)}]`;
  }
  return text;
}

function nameAndMessage(problem: Problem): string {
  const path = pathText(problem.path);
  const message = printable(problem.message);
  return path === "" ? message : `${printable(path)}: ${message}`;
}

function excerpt(problem: LocatedProblem, paint: (code: number, text: string) => string): string[] {
  const widest = 160;
  let source = problem.source.replaceAll("\t", " ");
  let column = problem.column - 1;
  if (source.length > widest) {
    const from = Math.max(0, Math.min(column - 40, source.length - widest));
    source = `${from > 0 ? "..." : ""}${source.slice(from, from + widest)}${from + widest < source.length ? "..." : ""}`;
    column = column - from + (from > 0 ? 3 : 0);
  }
  const number = String(problem.line);
  const gap = " ".repeat(number.length);
  const carets = "^".repeat(Math.max(1, Math.min(problem.length, source.length - column)));
  return [
    `  ${number} | ${printable(source)}`,
    `  ${gap} | ${" ".repeat(column)}${paint(31, carets)}`,
  ];
}

/** No control characters from a file reach a terminal. */
function printable(text: string): string {
  return text.replaceAll(/[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu, "\ufffd");
}

const secretKeys = new Set(["keys", "token", "secret", "clientSecret", "password"]);

/** True for what is not repeated to anyone: keys, tokens and passwords. */
export function isSecretPath(path: ConfigPath): boolean {
  return path.some((segment) => typeof segment === "string" && secretKeys.has(segment));
}

function isSecret(problem: Problem): boolean {
  return problem.at === "value" && isSecretPath(problem.path);
}

/** Signs that hold a value together are left, so that the line can still be read; so are references to variables. */
function hide(line: string, from: number, to: number): string {
  const hidden = line
    .slice(from, to)
    .replaceAll(/\$\{[^}]*\}|[^\s{}[\],"':]/g, (found) => (found.startsWith("${") ? found : "*"));
  return line.slice(0, from) + hidden + line.slice(to);
}

/** A line is shown for one mistake in it, and may hold a secret beside it: `token: x`, or the login of a URL. */
function hideSecrets(line: string): string {
  let shown = line;
  for (const key of line.matchAll(
    /(?<=^|[\s{,"'])(?:token|secret|clientSecret|password|keys)["']?\s*:/g,
  )) {
    const from = key.index + key[0].length;
    shown = hide(shown, from, valueEnd(line, from));
  }
  return shown.replaceAll(/\/\/[^@/\s"']*@/g, (login) => `//${"*".repeat(login.length - 3)}@`);
}

/** Where a value that begins there ends on the line: at its own closing sign, or at the comma or bracket behind it. */
function valueEnd(line: string, from: number): number {
  const closing: string[] = [];
  let quote = "";
  for (let at = from; at < line.length; at++) {
    const sign = line[at] ?? "";
    if (quote !== "") {
      if (sign === quote) quote = "";
    } else if (sign === '"' || sign === "'") quote = sign;
    else if (sign === "[") closing.push("]");
    else if (sign === "{") closing.push("}");
    else if (sign === closing.at(-1)) closing.pop();
    else if (closing.length === 0 && /[,\]}]/.test(sign)) return at;
  }
  return line.length;
}

function lineStarts(text: string): number[] {
  const starts = [0];
  for (let at = text.indexOf("\n"); at !== -1; at = text.indexOf("\n", at + 1)) starts.push(at + 1);
  return starts;
}
