/** Reads YAML or JSON text into plain data, and finds the place of a value in it again. Hostile text is refused, never thrown on. */

import { isAlias, isMap, isPair, isScalar, isSeq, parseDocument } from "yaml";
import type { Document, Pair } from "yaml";
import type { ConfigPath, Problem } from "../config.ts";
import { Aliases, Places, isMerge, keyText, spanOf, type Span } from "./places.ts";

/** Larger files are refused unread: 8 MiB, room for some 50 000 routes. */
export const largestBytes = 8 * 1024 * 1024;
const deepest = 64;
/** Values that come from aliases: a "billion laughs" file is refused here, long before memory is short. */
const mostAliased = 50_000;
const mostProblems = 50;

/** A problem with its offset in the text already known. */
export interface PlacedProblem extends Problem {
  readonly offset: number;
  readonly length: number;
}

export type ParsedText =
  | {
      readonly ok: true;
      readonly data: unknown;
      place(path: ConfigPath, at: "key" | "value"): Span;
    }
  | { readonly ok: false; readonly problems: readonly PlacedProblem[] };

/** An empty document is a problem. */
export function parseText(text: string, format: "yaml" | "json"): ParsedText {
  if (Buffer.byteLength(text) > largestBytes)
    return refuse(0, 0, "the file is too large", `at most ${largestBytes / 1024 / 1024} MiB`);
  if (text.trim() === "")
    return refuse(0, 0, "the configuration is empty", 'at least a "gateway" or a "mesh" block');
  const binary = text.search(/(?![\t\n\v\f\r\x85])\p{Cc}/u);
  if (binary !== -1)
    return refuse(binary, 1, "the file holds a control character", "a text file in UTF-8");
  if (format === "json") {
    const problem = jsonProblem(text);
    if (problem !== null) return { ok: false, problems: [problem] };
  }
  let doc: Document.Parsed;
  try {
    doc = parseDocument(text, {
      uniqueKeys: false,
      prettyErrors: false,
      strict: true,
      logLevel: "error",
      merge: true,
      stringKeys: false,
    });
  } catch (error) {
    return refuse(
      0,
      0,
      `the file cannot be read: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
  // A tag that nobody knows is a warning to the library, and would be ignored: `!secret x` is not "x".
  const faults = [...doc.errors, ...doc.warnings];
  if (faults.length > 0)
    return {
      ok: false,
      problems: causes(text, faults)
        .slice(0, mostProblems)
        .map((error) => syntaxProblem(text, error)),
    };
  if (doc.contents === null || (isScalar(doc.contents) && doc.contents.value === null)) {
    return refuse(0, 0, "the configuration is empty", 'at least a "gateway" or a "mesh" block');
  }
  const aliases = new Aliases(doc);
  const places = new Places(doc.contents, aliases);
  const reader = new Reader(aliases);
  const data = reader.read(doc.contents, [], 0);
  if (reader.problems.length > 0) return { ok: false, problems: reader.problems };
  return { ok: true, data, place: (path, at) => places.of(path, at) };
}

/** Walks the nodes into plain data, counting what aliases multiply. */
class Reader {
  readonly problems: PlacedProblem[] = [];
  readonly #aliases: Aliases;
  #aliased = 0;
  #insideAlias = 0;
  #stopped = false;

  constructor(aliases: Aliases) {
    this.#aliases = aliases;
  }

  read(node: unknown, path: ConfigPath, depth: number): unknown {
    if (this.#stopped) return null;
    if (this.#insideAlias > 0 && ++this.#aliased > mostAliased)
      return this.#stop(
        node,
        path,
        "the aliases of this file multiply into too many values",
        `at most ${mostAliased}`,
      );
    if (depth > deepest)
      return this.#stop(
        node,
        path,
        "the file is nested too deeply, or an alias holds itself",
        `at most ${deepest} levels`,
      );
    if (isAlias(node)) {
      const target = this.#aliases.follow(node);
      if (target === undefined)
        return this.#stop(
          node,
          path,
          `the alias *${node.source} has no anchor before it`,
          `&${node.source} on an earlier value`,
        );
      this.#insideAlias++;
      const value = this.read(target, path, depth + 1);
      this.#insideAlias--;
      return value;
    }
    if (isMap(node)) return this.#map(node.items, path, depth);
    if (isSeq(node))
      return node.items.map((item, index) => this.read(item, [...path, index], depth + 1));
    if (isPair(node)) return this.#map([node], path, depth);
    if (!isScalar(node)) return null;
    const value = node.value;
    if (value === null || ["string", "number", "boolean"].includes(typeof value)) return value;
    if (typeof value === "bigint") return Number(value);
    return this.#stop(
      node,
      path,
      "this kind of value is not understood",
      "a text, a number, true or false, a list or a mapping",
    );
  }

  #map(items: readonly Pair[], path: ConfigPath, depth: number): Record<string, unknown> {
    const out: Record<string, unknown> = {};
    const merged: Record<string, unknown>[] = [];
    for (const pair of items) {
      if (this.#stopped) break;
      if (isMerge(pair.key)) {
        merged.push(...this.#merge(pair, path, depth));
        continue;
      }
      const key = keyText(pair.key);
      if (key === null) {
        this.#add(pair.key, path, "this key is not a text", "a plain word");
        continue;
      }
      if (Object.hasOwn(out, key)) {
        this.#add(pair.key, [...path, key], `the key "${key}" is here twice`, "each key once");
        continue;
      }
      define(out, key, this.read(pair.value, [...path, key], depth + 1));
    }
    for (const source of merged) {
      for (const key of Object.keys(source))
        if (!Object.hasOwn(out, key)) define(out, key, source[key]);
    }
    return out;
  }

  /** YAML 1.1 merge keys, `<<: *defaults` or a list of them: common in the files people have. */
  #merge(pair: Pair, path: ConfigPath, depth: number): Record<string, unknown>[] {
    const value = this.read(pair.value, path, depth + 1);
    const sources = Array.isArray(value) ? value : [value];
    if (
      sources.every(
        (source) => typeof source === "object" && source !== null && !Array.isArray(source),
      )
    )
      return sources;
    this.#add(
      pair.value,
      path,
      '"<<" takes a mapping, or a list of them',
      "an alias such as *defaults",
    );
    return [];
  }

  #add(node: unknown, path: ConfigPath, message: string, expected: string): void {
    if (this.problems.length >= mostProblems) return;
    this.problems.push({ path, at: "value", message, expected, ...spanOf(node, 0) });
  }

  #stop(node: unknown, path: ConfigPath, message: string, expected: string): null {
    if (!this.#stopped) this.#add(node, path, message, expected);
    this.#stopped = true;
    return null;
  }
}

/** Never through the prototype: `__proto__` is a key like any other, and then an unknown one. */
function define(target: Record<string, unknown>, key: string, value: unknown): void {
  Object.defineProperty(target, key, {
    value,
    enumerable: true,
    configurable: true,
    writable: true,
  });
}

/** YAML reads more than JSON allows (comments, trailing commas): a .json file is held to JSON first. */
function jsonProblem(text: string): PlacedProblem | null {
  try {
    JSON.parse(text);
    return null;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const found = /at position (\d+)/.exec(message);
    const offset = found === null ? text.trimEnd().length : Math.min(Number(found[1]), text.length);
    const reason = message
      .replace(/ in JSON at position.*$/s, "")
      .replace(/, ".*" is not valid JSON$/s, "");
    return { path: [], at: "value", message: `this is not JSON: ${reason}`, offset, length: 1 };
  }
}

interface SyntaxFault {
  readonly code: string;
  readonly message: string;
  readonly pos: readonly [number, number];
}

/**
 * The first fault of each line. Once the library has lost its way it finds fault with every token that follows: those
 * say nothing.
 */
function causes(text: string, faults: readonly SyntaxFault[]): readonly SyntaxFault[] {
  const lost = faults.findIndex(({ message }) => message.includes("token in YAML stream"));
  const found = lost === -1 ? faults : faults.slice(0, Math.max(1, lost));
  const isNewLine = (from: number, to: number): boolean => text.slice(from, to).includes("\n");
  return found.filter(({ pos }, i) => i === 0 || isNewLine(found[i - 1]!.pos[0], pos[0]));
}

function syntaxProblem(text: string, error: SyntaxFault): PlacedProblem {
  const offset = Math.min(error.pos[0], text.length);
  const length = Math.max(1, error.pos[1] - error.pos[0]);
  const place = { path: [], at: "value" as const, offset, length };
  if (error.code === "RESOURCE_EXHAUSTION")
    return {
      ...place,
      message: "the file is nested too deeply",
      expected: `at most ${deepest} levels`,
    };
  if (error.code === "MULTIPLE_DOCS")
    return {
      ...place,
      message: "a second YAML document begins here",
      expected: 'one document: no "---" in the middle',
    };
  if (error.code === "TAB_AS_INDENT")
    return { ...place, message: "a tab stands where spaces are needed", expected: "spaces" };
  const problem = { ...place, message: `this is not YAML: ${firstLine(error.message)}` };
  const lineStart = text.lastIndexOf("\n", offset - 1) + 1;
  const before = text.slice(lineStart, offset + 1);
  if (/[{[,:]\s*\$\{[^}"']*$/.test(before))
    return {
      ...problem,
      message: "this is not YAML: ${...} stands without quotes inside { } or [ ]",
      suggestion: 'put quotes around it: "${VAR}"',
    };
  return problem;
}

function firstLine(text: string): string {
  const line = text.split("\n", 1)[0] ?? "";
  return line.length > 160 ? `${line.slice(0, 160)}...` : line;
}

function refuse(offset: number, length: number, message: string, expected?: string): ParsedText {
  const problem: PlacedProblem = {
    path: [],
    at: "value",
    message,
    offset,
    length,
    ...(expected === undefined ? {} : { expected }),
  };
  return { ok: false, problems: [problem] };
}
