/** Every dependency has its reason written down, and is used. */

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { readSources, root, rooms } from "./support/source-tree.ts";

interface Manifest {
  readonly dependencies: Record<string, string>;
  readonly devDependencies: Record<string, string>;
}

const manifest = JSON.parse(fs.readFileSync(path.join(root, "package.json"), "utf8")) as Manifest;
const page = fs.readFileSync(path.join(root, "docs/dependencies.md"), "utf8");
const [published = "", development = ""] = page.split("## For development");

test("docs/dependencies.md names every dependency", () => {
  const named = (text: string, name: string) =>
    new RegExp(`^\\|[^|]*(^|[ ,|])${name}[ ,(]`, "m").test(text);
  assert.deepEqual(
    Object.keys(manifest.dependencies).filter((name) => !named(published, name)),
    [],
  );
  assert.deepEqual(
    Object.keys(manifest.devDependencies).filter((name) => !named(development, name)),
    [],
  );
});

test("source imports only dependencies of the package and Node's own modules", () => {
  const allowed = [...Object.keys(manifest.dependencies), "weft"];
  const wrong = readSources(rooms).flatMap((file) =>
    file.packages
      .filter((name) => !name.startsWith("node:"))
      .filter((name) => !allowed.some((each) => name === each || name.startsWith(`${each}/`)))
      .map((name) => `${file.path} imports ${name}`),
  );
  assert.deepEqual(wrong, []);
});

test("package-lock.json has every package that another one may want: npm ci refuses it otherwise", () => {
  const lock = JSON.parse(fs.readFileSync(path.join(root, "package-lock.json"), "utf8")) as {
    readonly packages: Record<string, { readonly optionalDependencies?: Record<string, string> }>;
  };
  const wanted = Object.values(lock.packages).flatMap((entry) =>
    Object.keys(entry.optionalDependencies ?? {}),
  );
  assert.deepEqual(
    wanted.filter((name) =>
      Object.keys(lock.packages).every((place) => !place.endsWith(`node_modules/${name}`)),
    ),
    [],
  );
});
