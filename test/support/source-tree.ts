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

/** The code with comments and template texts blanked, so that what looks like an import in them is none. */
function withoutComments(text: string): string {
  let out = "";
  let i = 0;
  /** Depth of braces at which each open template goes on. */
  const templates: number[] = [];
  let depth = 0;
  let last = "";
  while (i < text.length) {
    const c = text[i]!;
    const two = text.slice(i, i + 2);
    let end = i + 1;
    if (two === "//") end = indexAfter(text, "\n", i) - 1;
    else if (two === "/*") end = indexAfter(text, "*/", i);
    else if (c === '"' || c === "'") {
      end = closing(text, i, c);
      out += text.slice(i, end);
      last = c;
    } else if (c === "`" || (c === "}" && templates.at(-1) === depth)) {
      if (c === "}") templates.pop();
      end = i + 1;
      while (end < text.length && text[end] !== "`" && text.slice(end, end + 2) !== "${")
        end += text[end] === "\\" ? 2 : 1;
      if (text[end] === "$") {
        templates.push(depth);
        end += 2;
      } else end += 1;
      last = "`";
    } else if (c === "/" && "(,=:[!&|?{};+".includes(last)) {
      end = closing(text, i, "/");
      last = "/";
    } else {
      if (c === "{") depth++;
      if (c === "}") depth--;
      out += c;
      if (!/\s/.test(c)) last = c;
    }
    i = end;
  }
  return out;
}

function indexAfter(text: string, part: string, from: number): number {
  const at = text.indexOf(part, from + 1);
  return at === -1 ? text.length : at + part.length;
}

/** Behind the delimiter that closes a string or regular expression. */
function closing(text: string, from: number, delimiter: string): number {
  let inClass = false;
  for (let i = from + 1; i < text.length; i++) {
    const c = text[i]!;
    if (c === "\\") i++;
    else if (c === "\n") return i;
    else if (delimiter === "/" && c === "[") inClass = true;
    else if (delimiter === "/" && c === "]") inClass = false;
    else if (c === delimiter && !inClass) return i + 1;
  }
  return text.length;
}
