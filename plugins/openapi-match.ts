/** Finds the operation of an OpenAPI document that a request asks for. */

import type { Operation } from "./openapi.ts";

/** An operation and the texts of its path's parameters, decoded. */
export interface Found<T> {
  readonly value: T;
  readonly path: Readonly<Record<string, string>>;
}

interface Template<T> {
  readonly parts: readonly (string | RegExp)[];
  readonly names: readonly (readonly string[])[];
  readonly literals: number;
  readonly byMethod: Map<string, T>;
}

/** Operations by the number of elements of their path; those with more fixed text first. */
export class Operations<T> {
  private readonly byLength = new Map<number, Template<T>[]>();

  /** @param base path of a server before the operation's own, without a slash at its end */
  add(base: string, operation: Operation, value: T): void {
    const elements = `${base}${operation.path}`.split("/").slice(1);
    const list = this.byLength.get(elements.length) ?? [];
    this.byLength.set(elements.length, list);
    const parts = elements.map(toPart);
    const key = parts.map(String).join("/");
    let template = list.find((one) => one.parts.map(String).join("/") === key);
    if (template === undefined) {
      template = {
        parts,
        names: elements.map((text) => [...text.matchAll(/\{([^}]+)\}/g)].map(([, name]) => name!)),
        literals: parts.filter((part) => typeof part === "string").length,
        byMethod: new Map(),
      };
      list.push(template);
      list.sort((a, b) => b.literals - a.literals);
    }
    template.byMethod.set(operation.method, value);
  }

  /** Methods: the path is there, and takes these. Null: no operation has this path. */
  find(method: string, path: string): Found<T> | readonly string[] | null {
    const elements = path.split("/").slice(1).map(decode);
    let others: string[] | null = null;
    for (const template of this.byLength.get(elements.length) ?? []) {
      const values = read(template, elements);
      if (values === null) continue;
      const { byMethod } = template;
      const value = byMethod.get(method) ?? (method === "HEAD" ? byMethod.get("GET") : undefined);
      if (value !== undefined) return { value, path: values };
      (others ??= []).push(...byMethod.keys());
    }
    return others;
  }
}

function toPart(element: string): string | RegExp {
  if (!element.includes("{")) return decode(element);
  const source = element
    .split(/\{[^}]+\}/)
    .map((text) => text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"))
    .join("(.+)");
  return new RegExp(`^${source}$`, "s");
}

function read<T>(
  template: Template<T>,
  elements: readonly string[],
): Readonly<Record<string, string>> | null {
  const values: Record<string, string> = Object.create(null) as Record<string, string>;
  for (let i = 0; i < elements.length; i++) {
    const part = template.parts[i]!;
    if (typeof part === "string") {
      if (part !== elements[i]) return null;
      continue;
    }
    const match = part.exec(elements[i]!);
    if (match === null) return null;
    for (const [j, name] of template.names[i]!.entries()) values[name] = match[j + 1]!;
  }
  return values;
}

function decode(text: string): string {
  if (!text.includes("%")) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
