/** Where the values of a YAML document stand in its text. */

import { isAlias, isMap, isScalar, isSeq, visit } from "yaml";
import type { Document, Node, Pair, YAMLMap } from "yaml";
import type { ConfigPath } from "../config.ts";

/** A piece of a text: offset and length in UTF-16 units. */
export interface Span {
  readonly offset: number;
  readonly length: number;
}

/** Finds the place of a path. What the path names beyond the text (a missing key, a filled-in list) is the nearest thing around it. */
export class Places {
  readonly #contents: unknown;
  readonly #aliases: Aliases;
  /** The keys of a mapping, indexed when it is first walked through: a large one may have a thousand problems. */
  readonly #pairs = new Map<unknown, Map<string, Pair>>();

  constructor(contents: unknown, aliases: Aliases) {
    this.#contents = contents;
    this.#aliases = aliases;
  }

  of(path: ConfigPath, at: "key" | "value"): Span {
    let node = this.#contents;
    let span = spanOf(node, 0);
    for (let depth = 0; depth < path.length; depth++) {
      node = this.#aliases.follow(node);
      const segment = path[depth];
      if (isSeq(node)) {
        const item = typeof segment === "number" ? node.items[segment] : undefined;
        if (item === undefined) break;
        node = item;
        span = spanOf(node, span.offset);
        continue;
      }
      if (!isMap(node)) break;
      const pair = this.#find(node, String(segment), 0);
      if (pair === null) {
        // One object where a list is allowed: `match: {...}` is found by ['match', 0].
        if (segment === 0) continue;
        break;
      }
      if (depth === path.length - 1 && at === "key") return spanOf(pair.key, span.offset);
      const key = spanOf(pair.key, span.offset);
      node = pair.value;
      span = node === null ? key : spanOf(node, key.offset);
    }
    return span;
  }

  #find(map: YAMLMap, key: string, depth: number): Pair | null {
    let pairs = this.#pairs.get(map);
    if (pairs === undefined) {
      pairs = new Map();
      for (const pair of map.items) {
        const text = isMerge(pair.key) ? null : keyText(pair.key);
        if (text !== null && !pairs.has(text)) pairs.set(text, pair as Pair);
      }
      this.#pairs.set(map, pairs);
    }
    const found = pairs.get(key);
    if (found !== undefined) return found;
    if (depth > 8) return null;
    for (const pair of map.items) {
      if (!isMerge(pair.key)) continue;
      const value = this.#aliases.follow(pair.value);
      for (const source of isSeq(value) ? value.items : [value]) {
        const target = this.#aliases.follow(source);
        const inner = isMap(target) ? this.#find(target, key, depth + 1) : null;
        if (inner !== null) return inner;
      }
    }
    return null;
  }
}

/** What each alias stands for: the last node before it with that anchor. The library looks through the whole document for each. */
export class Aliases {
  readonly #doc: Document.Parsed;
  #targets: Map<unknown, Node> | null = null;

  constructor(doc: Document.Parsed) {
    this.#doc = doc;
  }

  /** The node itself when it is no alias; undefined when its anchor is missing. */
  follow(node: unknown): unknown {
    return isAlias(node) ? this.#all().get(node) : node;
  }

  #all(): Map<unknown, Node> {
    if (this.#targets !== null) return this.#targets;
    const targets = new Map<unknown, Node>();
    const anchors = new Map<string, Node>();
    visit(this.#doc, {
      Node(_, node) {
        if (isAlias(node)) {
          const target = anchors.get(node.source);
          if (target !== undefined) targets.set(node, target);
        } else if (node.anchor !== undefined) anchors.set(node.anchor, node);
      },
    });
    this.#targets = targets;
    return targets;
  }
}

/** From a node's first character to its last; a value that spans lines is cut when it is printed. */
export function spanOf(node: unknown, fallback: number): Span {
  const range = typeof node === "object" && node !== null ? (node as Node).range : null;
  if (range === null || range === undefined) return { offset: fallback, length: 1 };
  return { offset: range[0], length: Math.max(1, range[1] - range[0]) };
}

/** A YAML 1.1 merge key, unquoted. */
export function isMerge(key: unknown): boolean {
  return (
    isScalar(key) &&
    (key.value === "<<" || typeof key.value === "symbol") &&
    key.type !== "QUOTE_DOUBLE" &&
    key.type !== "QUOTE_SINGLE"
  );
}

/** A key as it is written; null when it is no plain word. */
export function keyText(key: unknown): string | null {
  if (!isScalar(key)) return null;
  const value = key.value;
  if (typeof value === "string") return value;
  if (typeof value === "number" || typeof value === "boolean")
    return typeof key.source === "string" ? key.source : String(value);
  return null;
}
