/** `npm run build [-- --out DIR]`: the published package, JavaScript with types, in dist/, and its tarball. */

import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";

const root = path.resolve(import.meta.dirname, "..");
const { values } = parseArgs({
  options: { out: { type: "string", default: path.join(root, "dist") } },
});
const out = path.resolve(values.out);

/** Folders whose other files (pages, styles, configurations) go with the code. */
const rooms = [
  "cmd",
  "gateway",
  "mesh",
  "proxy",
  "plugins",
  "policies",
  "control",
  "examples/demo",
];

fs.rmSync(out, { recursive: true, force: true });
run(path.join(root, "node_modules/.bin/tsc"), [
  "-p",
  path.join(root, "tsconfig.build.json"),
  "--outDir",
  out,
]);
for (const room of rooms) copyAssets(path.join(root, room), path.join(out, room));
for (const file of filesBelow(out)) if (file.endsWith(".js")) renameModules(file);
for (const file of ["LICENSE", "README.md"])
  fs.copyFileSync(path.join(root, file), path.join(out, file));
fs.writeFileSync(path.join(out, "package.json"), `${JSON.stringify(manifest(), null, 2)}\n`);
fs.chmodSync(path.join(out, "cmd/weft.js"), 0o755);
run("npm", ["pack", "--silent", "--pack-destination", out], out);

/** package.json as published: entry points at what was built, nothing that only a clone needs. */
function manifest(): object {
  const source = JSON.parse(fs.readFileSync(path.join(root, "package.json"), "utf8")) as Record<
    string,
    unknown
  >;
  const kept = ["name", "version", "description", "license", "type", "engines", "dependencies"];
  return {
    ...Object.fromEntries(kept.map((key) => [key, source[key]])),
    bin: mapStrings(source["bin"], (file) => built(file, ".js")),
    exports: mapStrings(source["exports"], (file) =>
      file.endsWith(".ts") ? { types: built(file, ".d.ts"), default: built(file, ".js") } : file,
    ),
  };
}

function mapStrings(record: unknown, change: (file: string) => unknown): object {
  return Object.fromEntries(
    Object.entries(record as Record<string, string>).map(([key, file]) => [key, change(file)]),
  );
}

function built(file: string, ending: string): string {
  return file.replace(/\.ts$/, ending);
}

/** The compiler rewrites the endings of imports; files named in other ways (`new URL("./worker.ts", import.meta.url)`) are left to us. */
function renameModules(file: string): void {
  const text = fs.readFileSync(file, "utf8");
  const changed = text.replaceAll(
    /(new URL\(\s*|import\.meta\.resolve\(\s*|import\.meta\.dirname,\s*)(["'`])([^"'`\n]+)\.ts\2/g,
    "$1$2$3.js$2",
  );
  if (changed !== text) fs.writeFileSync(file, changed);
}

function copyAssets(from: string, to: string): void {
  for (const file of filesBelow(from)) {
    if (file.endsWith(".ts")) continue;
    const target = path.join(to, path.relative(from, file));
    fs.mkdirSync(path.dirname(target), { recursive: true });
    fs.copyFileSync(file, target);
  }
}

function filesBelow(folder: string): string[] {
  if (!fs.existsSync(folder)) return [];
  return fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name));
}

function run(program: string, args: readonly string[], cwd = root): void {
  const result = spawnSync(program, args, { cwd, stdio: "inherit" });
  if (result.error !== undefined) throw result.error;
  if (result.status !== 0) process.exit(result.status ?? 1);
}
