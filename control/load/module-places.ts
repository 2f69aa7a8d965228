/** Where the values of a configuration stand in a module that writes them out: object and array literals, and names for them. */

import type { ConfigPath } from "../config.ts";
import type { Span } from "./places.ts";

/** Names, parentheses and calls that are followed for one place: a program may name itself. */
const mostSteps = 100;
/** Longer programs are not read for places: each problem reads them anew. */
const longestText = 200_000;

/**
 * The place of a path in the literal that the module exports by default, bare or as the argument of a call
 * (`defineConfig({...})`). Where the program computes a value, the place is that expression. It reads, and runs nothing;
 * what it cannot follow ends at the nearest thing around it.
 */
export function moduleSpan(text: string, path: ConfigPath, at: "key" | "value"): Span {
  const start = /^[ \t]*export\s+default\s+/m.exec(text);
  if (start === null || text.length > longestText) return { offset: 0, length: 1 };
  const scanner = new Scanner(text);
  return scanner.find(start.index + start[0].length, path, at);
}

/** A line from its first sign that is no space; counted from 1. */
export function lineSpan(text: string, line: number): Span {
  let offset = 0;
  for (let n = 1; n < line; n++) {
    const end = text.indexOf("\n", offset);
    if (end === -1) break;
    offset = end + 1;
  }
  const rest = /^[ \t]*(.*)/.exec(text.slice(offset, offset + 1000));
  const length = rest?.[1]?.length ?? 0;
  return { offset: offset + (rest?.[0]?.length ?? 0) - length, length: Math.max(1, length) };
}

interface Member {
  /** Null: spread or computed. */
  readonly key: string | null;
  readonly keySpan: Span;
  readonly value: number;
}

class Scanner {
  readonly #text: string;
  #steps = 0;

  constructor(text: string) {
    this.#text = text;
  }

  find(from: number, path: ConfigPath, at: "key" | "value"): Span {
    const start = this.#enter(from);
    const whole: Span = { offset: start, length: Math.max(1, this.#end(start) - start) };
    const [segment, ...rest] = path;
    if (segment === undefined) return whole;
    const first = this.#text[start];
    if (first === "[" && typeof segment === "number") {
      const item = this.#items(start)[segment];
      return item === undefined ? whole : this.find(item, rest, at);
    }
    if (first !== "{") return whole;
    const member = this.#members(start).findLast(({ key }) => key === String(segment));
    if (member !== undefined) {
      return rest.length === 0 && at === "key" ? member.keySpan : this.find(member.value, rest, at);
    }
    // One object where a list is allowed.
    return segment === 0 ? this.find(start, rest, at) : whole;
  }

  /** Through parentheses, calls with one literal and names of literals, to the value itself. */
  #enter(from: number): number {
    const start = this.#skipBlank(from);
    if (this.#steps++ > mostSteps) return start;
    if (this.#text[start] === "(") return this.#enter(start + 1);
    const name = /^[A-Za-z_$][\w$]*/.exec(this.#text.slice(start, start + 100))?.[0];
    if (name === undefined) return start;
    if (name === "await") return this.#enter(start + name.length);
    const next = this.#skipBlank(start + name.length);
    if (this.#text[next] === "(") {
      const argument = this.#skipBlank(next + 1);
      return this.#text[argument] === "{" ? argument : start;
    }
    if (!/[,;)\]}\n]/.test(this.#text[next] ?? "\n")) return start;
    const declared = new RegExp(
      `(?:^|\\n)\\s*(?:export\\s+)?(?:const|let|var)\\s+${name.replaceAll("$", "\\$")}\\b[^=\\n]*=(?!=|>)`,
    ).exec(this.#text);
    if (declared === null) return start;
    const value = this.#skipBlank(declared.index + declared[0].length);
    return /[[{(\w$"'`]/.test(this.#text[value] ?? "") ? this.#enter(value) : start;
  }

  #items(open: number): number[] {
    const items: number[] = [];
    let at = this.#skipBlank(open + 1);
    while (at < this.#text.length && !/[\]}]/.test(this.#text[at] ?? "")) {
      items.push(at);
      at = this.#afterComma(this.#end(at));
    }
    return items;
  }

  #members(open: number): Member[] {
    const members: Member[] = [];
    let at = this.#skipBlank(open + 1);
    while (at < this.#text.length && !/[\]}]/.test(this.#text[at] ?? "")) {
      const member = this.#member(at);
      members.push(member);
      at = this.#afterComma(this.#end(member.value));
    }
    return members;
  }

  #member(at: number): Member {
    const rest = this.#text.slice(at, at + 300);
    const match = /^(?:([A-Za-z_$][\w$]*|\d+)|"((?:[^"\\\n]|\\.)*)"|'((?:[^'\\\n]|\\.)*)')/.exec(
      rest,
    );
    if (match === null) return { key: null, keySpan: { offset: at, length: 1 }, value: at };
    const key = match[1] ?? match[2] ?? match[3] ?? "";
    const keySpan: Span = { offset: at, length: match[0].length };
    const next = this.#skipBlank(at + match[0].length);
    // Without a colon it is a shorthand, or a method.
    return { key, keySpan, value: this.#text[next] === ":" ? this.#skipBlank(next + 1) : at };
  }

  /** Behind the expression at `from`: at a comma, a closing bracket or the end. */
  #end(from: number): number {
    const text = this.#text;
    let depth = 0;
    let at = from;
    while (at < text.length) {
      const sign = text[at] ?? "";
      if (depth === 0 && /[,;)\]}]/.test(sign)) break;
      if (/[([{]/.test(sign)) depth++;
      else if (/[)\]}]/.test(sign)) depth--;
      const next = this.#skipOne(at);
      if (depth === 0 && text.slice(at, next).includes("\n") && isOver(text, from, at, next)) break;
      at = next;
    }
    return trimEnd(text, from, at);
  }

  #afterComma(at: number): number {
    let next = this.#skipBlank(at);
    while (next < this.#text.length && !/[,\]}]/.test(this.#text[next] ?? ""))
      next = this.#skipOne(next);
    return this.#text[next] === "," ? this.#skipBlank(next + 1) : next;
  }

  /** Behind one text, comment or sign. */
  #skipOne(at: number): number {
    const text = this.#text;
    const sign = text[at];
    if (sign === '"' || sign === "'" || sign === "`") return this.#skipQuoted(at, sign);
    if (text.startsWith("//", at)) return lineEnd(text, at);
    if (text.startsWith("/*", at)) return after(text, "*/", at + 2);
    return at + 1;
  }

  #skipQuoted(from: number, quote: string): number {
    const text = this.#text;
    for (let at = from + 1; at < text.length; at++) {
      if (text[at] === "\\") at++;
      else if (text[at] === quote) return at + 1;
      else if (text[at] === "\n" && quote !== "`") return at;
    }
    return text.length;
  }

  #skipBlank(from: number): number {
    let at = from;
    while (at < this.#text.length) {
      if (/\s/.test(this.#text[at] ?? "")) at++;
      else if (this.#text.startsWith("//", at)) at = lineEnd(this.#text, at);
      else if (this.#text.startsWith("/*", at)) at = after(this.#text, "*/", at + 2);
      else break;
    }
    return at;
  }
}

/** A statement without a semicolon ends with its line, when a closing bracket or a word ended it. */
function isOver(text: string, from: number, lineBreak: number, next: number): boolean {
  const before = text.slice(from, lineBreak).trimEnd().at(-1) ?? "";
  return (
    /[\w$)\]}"'`]/.test(before) &&
    /^\s*(?:export|const|let|var|function|class|import)\b/.test(text.slice(next, next + 100))
  );
}

function trimEnd(text: string, from: number, to: number): number {
  let end = to;
  while (end > from && /\s/.test(text[end - 1] ?? "")) end--;
  return end;
}

function lineEnd(text: string, from: number): number {
  const end = text.indexOf("\n", from);
  return end === -1 ? text.length : end;
}

function after(text: string, sign: string, from: number): number {
  const end = text.indexOf(sign, from);
  return end === -1 ? text.length : end + sign.length;
}
