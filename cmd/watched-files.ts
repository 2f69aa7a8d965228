/** Which code a configuration stands on, followed through its local imports. */

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import path from "node:path";
import type { Config } from "../control/config.ts";
import { filesOf } from "../control/load/files.ts";

/** Certificates, keys and authorities, absolute. Their change is a reload: workers read them anew. */
export function certificateFiles(config: Config): string[] {
  return filesOf(config)
    .filter(({ kind }) => kind === "certificate")
    .map(({ file }) => file);
}

/** Plugin and app files with the local modules that they import, absolute. Their change needs new threads. */
export async function codeFiles(config: Config): Promise<string[]> {
  const found = new Set<string>();
  for (const { file, kind } of filesOf(config)) {
    if (kind === "module") await addImports(file, found);
  }
  return [...found].sort();
}

/** A hash of each file's content; a file that cannot be read counts as empty. */
export async function contentHashes(files: readonly string[]): Promise<Map<string, string>> {
  const hashes = new Map<string, string>();
  for (const file of files) {
    const content = await readFile(file).catch(() => Buffer.alloc(0));
    hashes.set(file, createHash("sha256").update(content).digest("hex"));
  }
  return hashes;
}

/** More than this is a program of its own: its changes need a restart. */
const fileLimit = 200;

/** Follows relative imports by their text: a wrong guess watches one file too many. */
async function addImports(file: string, found: Set<string>): Promise<void> {
  if (found.has(file) || found.size >= fileLimit) return;
  found.add(file);
  const source = await readFile(file, "utf8").catch(() => "");
  for (const match of source.matchAll(/(?:from|import)\s*\(?\s*["'](\.{1,2}\/[^"'\n]+)["']/g)) {
    const imported = path.resolve(path.dirname(file), match[1]!);
    if (/\.[cm]?[jt]s$/.test(imported)) await addImports(imported, found);
  }
}
