/** The house stays as drawn: layers, stages, no cycles, no default exports, the words of the design. */

import assert from "node:assert/strict";
import path from "node:path";
import { test } from "node:test";
import {
  filesBelow,
  findCycles,
  readSource,
  readSources,
  root,
  rooms,
} from "./support/source-tree.ts";

const sources = readSources(rooms);
const everything = [...sources, ...readSources(["test", "scripts", "examples", "k6"])];

/** What a room may import besides itself. */
const layers: Record<(typeof rooms)[number], readonly string[]> = {
  policies: [],
  proxy: ["policies"],
  plugins: ["proxy", "policies"],
  control: ["plugins", "proxy", "policies"],
  gateway: ["proxy", "policies"],
  mesh: ["proxy", "policies"],
  cmd: ["gateway", "mesh", "proxy", "plugins", "policies", "control"],
};

/** Folders of proxy/ in the order in which a request walks through them. */
const stages = ["listen", "http1", "http2", "route", "pipeline", "service", "upstream", "tunnel"];
/** Rooms of proxy/ that any stage may use and that use no stage. */
const leaves = ["http", "observe"];
/** The public plugin API: types and a few constructors, which any room may use. */
const publicApi = "proxy/pipeline/plugin.ts";

const roomOf = (file: string): string => file.split("/")[0]!;
const stageOf = (file: string): string | null => /^proxy\/([^/]+)\//.exec(file)?.[1] ?? null;

test("a room imports only the rooms below it", () => {
  const wrong = sources.flatMap((file) =>
    [...file.imports, ...file.lazyImports]
      .filter((target) => {
        const room = roomOf(file.path) as keyof typeof layers;
        return roomOf(target) !== room && !layers[room].includes(roomOf(target));
      })
      .map((target) => `${file.path} imports ${target}`),
  );
  assert.deepEqual(wrong, []);
});

test("policies import no package: they decide, without I/O and without timers", () => {
  const wrong = sources
    .filter((file) => roomOf(file.path) === "policies")
    .flatMap((file) => file.packages.map((name) => `${file.path} imports ${name}`));
  assert.deepEqual(wrong, []);
});

test("the data path imports no HTTP stack of Node's", () => {
  const stacks = ["node:http", "node:https", "node:http2", "undici", "hono", "@hono/node-server"];
  // upgrades go through http-proxy's ws(), which wants an agent of node:http
  const wrong = sources
    .filter((file) => roomOf(file.path) === "proxy" && file.path !== "proxy/tunnel/handshake.ts")
    .flatMap((file) =>
      file.packages
        .filter((name) => stacks.includes(name))
        .map((name) => `${file.path} imports ${name}`),
    );
  assert.deepEqual(wrong, []);
});

test("a stage of the data path imports only stages that a request has already walked through", () => {
  const wrong = sources.flatMap((file) => {
    const stage = stageOf(file.path);
    if (stage === null) return [];
    return file.imports
      .filter((target) => {
        const other = stageOf(target);
        if (other === null || other === stage || leaves.includes(other) || target === publicApi)
          return false;
        if (leaves.includes(stage)) return true;
        return stages.indexOf(other) > stages.indexOf(stage);
      })
      .map((target) => `${file.path} imports ${target}`);
  });
  assert.deepEqual(wrong, []);
});

test("every folder of the data path has its place in the order", () => {
  const folders = new Set(
    sources.map((file) => stageOf(file.path)).filter((stage) => stage !== null),
  );
  assert.deepEqual(
    [...folders].filter((folder) => !stages.includes(folder) && !leaves.includes(folder)),
    [],
  );
});

test("no file imports itself by way of others", () => {
  assert.deepEqual(
    findCycles(everything).map((cycle) => cycle.join(" -> ")),
    [],
  );
});

test("only plugins, apps, configurations and load scripts have a default export", () => {
  const allowed =
    /^(plugins|examples|k6)\/|\/(plugins|apps|fixtures)\/|[-/]plugin\.ts$|\.config\.ts$/;
  const wrong = everything.filter((file) => file.hasDefaultExport && !allowed.test(file.path));
  assert.deepEqual(
    wrong.map((file) => file.path),
    [],
  );
});

test("file names are kebab-case and use the words of the design", () => {
  const avoided = /backend|cluster|context|manager|util|helper/;
  const wrong = [...rooms, "test", "scripts", "examples", "k6", "docs"]
    .flatMap((room) => filesBelow(path.join(root, room)))
    .map((file) => path.relative(root, file))
    .filter((file) => !file.startsWith(path.join("test", "bench", "results")))
    .filter(
      (file) =>
        avoided.test(file) || (file.endsWith(".ts") && !/^[a-z0-9.-]+$/.test(path.basename(file))),
    );
  assert.deepEqual(wrong, []);
});

test("source lies at most three folders deep", () => {
  assert.deepEqual(
    sources.map((file) => file.path).filter((file) => file.split("/").length > 4),
    [],
  );
});

test("a source file opens with a sentence on its job", () => {
  assert.deepEqual(
    sources.filter((file) => !/^(#!.*\n)?\s*\/(\*\*|\/)/.test(file.text)).map((file) => file.path),
    [],
  );
});

test("no file has grown past 1,000 lines; the five longest are named", (t) => {
  const longest = [...sources].sort((a, b) => b.lines - a.lines).slice(0, 5);
  for (const file of longest) t.diagnostic(`${file.lines} lines: ${file.path}`);
  assert.deepEqual(
    longest.filter((file) => file.lines > 1000).map((file) => `${file.path}: ${file.lines} lines`),
    [],
  );
});

test("the reader tells value imports from type imports", () => {
  const file = readSource(
    path.join(root, "proxy/sample.ts"),
    [
      '/** import x from "./comment.ts" */',
      'import type { A } from "./type-only.ts";',
      'import { type B, c } from "./mixed.ts";',
      "import {",
      "  d,",
      '} from "../policies/lines.ts";',
      'import fs from "node:fs";',
      'export { e } from "./again.ts";',
      'const lazy = () => import("./lazy.ts");',
      "const text = `\nimport no from './template.ts';\nexport default ${`${lazy}`};\n`;",
      "const pattern = /[/'\"`]/;",
      "export default c;",
    ].join("\n"),
  );
  assert.deepEqual(file.imports, ["proxy/mixed.ts", "policies/lines.ts", "proxy/again.ts"]);
  assert.deepEqual(file.lazyImports, ["proxy/lazy.ts"]);
  assert.deepEqual(file.packages, ["node:fs"]);
  assert.equal(file.hasDefaultExport, true);
});

test("the reader finds a cycle and names its members", () => {
  const at = (name: string, target: string) =>
    readSource(path.join(root, name), `import { x } from "./${target}";\nexport const y = x;\n`);
  const cycles = findCycles([
    at("proxy/a.ts", "b.ts"),
    at("proxy/b.ts", "c.ts"),
    at("proxy/c.ts", "a.ts"),
  ]);
  assert.deepEqual(cycles, [["proxy/a.ts", "proxy/b.ts", "proxy/c.ts", "proxy/a.ts"]]);
});
