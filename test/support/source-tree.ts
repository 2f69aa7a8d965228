/** The project's own source as data: its files, what each imports, how long it is. */

import fs from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import path from "node:path";

/** The project's folder. */
export const root = path.resolve(import.meta.dirname, "../..");

/** Folders of the house that hold source. */
export const rooms = ["cmd", "gateway", "mesh", "proxy", "plugins", "policies", "control"] as const;

/** One source file. */
export interface SourceFile {
  /** Relative to the project, with `/`. */
  readonly path: string;
  readonly text: string;
  readonly lines: number;
  /** Project files whose values it imports at load, resolved; type-only imports are not among them. */
  readonly imports: readonly string[];
  /** Project files it loads later, by `import()` of a literal. */
  readonly lazyImports: readonly string[];
  /** Packages and `node:` modules whose values it imports. */
  readonly packages: readonly string[];
  readonly hasDefaultExport: boolean;
}

/** Every .ts file below the folders, sorted. */
export function readSources(folders: readonly string[]): SourceFile[] {
  return folders
    .flatMap((folder) => filesBelow(path.join(root, folder)))
    .filter((file) => file.endsWith(".ts") && !file.endsWith(".d.ts"))
    .sort()
    .map((file) => readSource(file, fs.readFileSync(file, "utf8")));
}

/** Reads one file's imports; `file` is absolute. */
export function readSource(file: string, text: string): SourceFile {
  const values = withoutComments(stripTypeScriptTypes(text));
  const specifiers = [
    ...matches(values, /^\s*import\s+[^"'();]*?from\s*["']([^"']+)["']/gm),
    ...matches(values, /^\s*import\s*["']([^"']+)["']/gm),
    ...matches(values, /^\s*export\s+[^"'();=]*?from\s*["']([^"']+)["']/gm),
  ];
  const lazy = matches(values, /\bimport\(\s*["']([^"']+)["']/g);
  const resolve = (specifier: string) =>
    path.relative(root, path.resolve(path.dirname(file), specifier)).replaceAll(path.sep, "/");
  return {
    path: path.relative(root, file).replaceAll(path.sep, "/"),
    text,
    lines: text.split("\n").length - 1,
    imports: specifiers.filter((each) => each.startsWith(".")).map(resolve),
    lazyImports: lazy.filter((each) => each.startsWith(".")).map(resolve),
    packages: [...specifiers, ...lazy].filter((each) => !each.startsWith(".")),
    hasDefaultExport: /^\s*export\s+default\b|\bas\s+default\b/m.test(values),
  };
}

/** Every file below a folder, absolute; node_modules left out. A folder that is absent has none. */
export function filesBelow(folder: string): string[] {
  if (!fs.existsSync(folder)) return [];
  return fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.parentPath.includes("node_modules"))
    .map((entry) => path.join(entry.parentPath, entry.name));
}

/** Import cycles among the files, each as the list of its members. */
export function findCycles(files: readonly SourceFile[]): string[][] {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const state = new Map<string, "open" | "done">();
  const trail: string[] = [];
  const cycles: string[][] = [];
  const visit = (name: string): void => {
    if (state.get(name) === "done") return;
    if (state.get(name) === "open") {
      cycles.push([...trail.slice(trail.indexOf(name)), name]);
      return;
    }
    state.set(name, "open");
    trail.push(name);
    for (const next of byPath.get(name)?.imports ?? []) if (byPath.has(next)) visit(next);
    trail.pop();
    state.set(name, "done");
  };
  for (const file of files) visit(file.path);
  return cycles;
}

function matches(text: string, pattern: RegExp): string[] {
  return [...text.matchAll(pattern)].map((match) => match[1]!);
}

/** Good enough to find imports: string and template contents are left alone only as far as they hold no comment marks at line starts. */
function withoutComments(text: string): string {
  return text.replaceAll(/^\s*\/\*[\s\S]*?\*\//gm, "").replaceAll(/^\s*\/\/.*$/gm, "");
}
