/** The worker thread in which a configuration program is imported; it posts the plain data of its default export. */

import { pathToFileURL } from "node:url";
import { parentPort, workerData } from "node:worker_threads";
import type { ConfigPath } from "../config.ts";
import type { ModuleAnswer } from "./module.ts";
import { resolveWeft } from "../resolve-weft.ts";

const deepest = 64;

resolveWeft();
parentPort?.postMessage(await answer(String((workerData as { file: unknown }).file)));

async function answer(file: string): Promise<ModuleAnswer> {
  let exported: unknown;
  try {
    const module = (await import(pathToFileURL(file).href)) as Record<string, unknown>;
    exported = await module["default"];
  } catch (error) {
    return {
      ok: false,
      path: [],
      message: `the module cannot be loaded: ${describe(error)}`,
      line: lineOf(error, file),
      expected: "export default defineConfig({ ... })",
    };
  }
  if (exported === undefined)
    return {
      ok: false,
      path: [],
      message: "the module has no default export",
      expected: "export default defineConfig({ ... })",
    };
  return plain(exported, []);
}

/** Data that YAML could hold: no functions, no class instances, nothing that holds itself. */
function plain(value: unknown, path: ConfigPath): ModuleAnswer {
  if (path.length > deepest)
    return {
      ok: false,
      path: path.slice(0, 4),
      message: "is nested too deeply, or holds itself",
      expected: `at most ${deepest} levels`,
    };
  if (
    value === null ||
    typeof value === "string" ||
    typeof value === "number" ||
    typeof value === "boolean"
  )
    return { ok: true, value };
  if (Array.isArray(value)) {
    const list: unknown[] = [];
    for (const [index, item] of value.entries()) {
      const found = plain(item, [...path, index]);
      if (!found.ok) return found;
      list.push(found.value);
    }
    return { ok: true, value: list };
  }
  if (typeof value === "object") {
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype !== null && prototype !== Object.prototype)
      return {
        ok: false,
        path,
        message: `is a ${value.constructor?.name ?? "class"} object`,
        expected: "plain data",
      };
    const mapping: Record<string, unknown> = {};
    for (const [key, item] of Object.entries(value)) {
      if (item === undefined) continue;
      const found = plain(item, [...path, key]);
      if (!found.ok) return found;
      Object.defineProperty(mapping, key, {
        value: found.value,
        enumerable: true,
        configurable: true,
        writable: true,
      });
    }
    return { ok: true, value: mapping };
  }
  return {
    ok: false,
    path,
    message: `is a ${typeof value}`,
    expected: "plain data; a plugin is named by its file",
  };
}

/** The message, and the place when it is in another file. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return `${error.name}: ${error.message.split("\n", 1)[0] ?? ""}`;
}

/** The line in that file that a stack names first: syntax errors have it above the message. */
function lineOf(error: unknown, file: string): number {
  const stack = error instanceof Error ? (error.stack ?? "") : "";
  for (const name of [pathToFileURL(file).href, file]) {
    const start = stack.indexOf(`${name}:`);
    const line = start === -1 ? null : /^\d+/.exec(stack.slice(start + name.length + 1));
    if (line !== null) return Number(line[0]);
  }
  return 0;
}
