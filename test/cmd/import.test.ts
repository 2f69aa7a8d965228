/** `weft import openapi`: what it prints is a configuration that `weft check` accepts. */

import assert from "node:assert/strict";
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { parse } from "yaml";
import { root } from "../support/source-tree.ts";
import { weft } from "./cli.ts";

const cwd = mkdtempSync(path.join(tmpdir(), "weft-import-"));
after(() => rmSync(cwd, { recursive: true, force: true }));

test("a document becomes a whole configuration", async () => {
  copyFileSync(path.join(root, "test/plugins/petstore.yaml"), path.join(cwd, "petstore.yaml"));
  const printed = await weft(["import", "openapi", "petstore.yaml"], { cwd });
  assert.equal(printed.code, 0, printed.stderr);
  const { services, routes } = parse(printed.stdout) as {
    services: Record<string, unknown>;
    routes: { name: string; match: unknown; to: string; plugins: unknown[] }[];
  };
  assert.deepEqual(services, {
    "127.0.0.1": { endpoints: ["127.0.0.1:3001"] },
    "pets.example.com": { endpoints: ["pets.example.com:443"], tls: {} },
    "127.0.0.1-2": { endpoints: ["127.0.0.1:3002"] },
  });
  assert.deepEqual(
    routes.map(({ name, match, to }) => [name, match, to]),
    [
      ["listPets", { path: { exact: "/v1/pets" }, methods: ["GET"] }, "127.0.0.1"],
      ["addPet", { path: { exact: "/v1/pets" }, methods: ["POST"] }, "127.0.0.1"],
      ["GET-pets-mine", { path: { exact: "/v1/pets/mine" }, methods: ["GET"] }, "127.0.0.1"],
      ["getPet", { path: { template: "/v1/pets/{pet_id}" }, methods: ["GET"] }, "127.0.0.1"],
      [
        "PUT-photos-name-.jpg",
        { path: { regex: "^/photos/[^/]+\\.jpg$" }, methods: ["PUT"] },
        "127.0.0.1-2",
      ],
    ],
  );
  for (const { plugins } of routes)
    assert.deepEqual(plugins, [{ validate: { openapi: "petstore.yaml" } }]);
  writeFileSync(path.join(cwd, "weft.yaml"), printed.stdout);
  const checked = await weft(["check", "weft.yaml"], { cwd });
  assert.equal(checked.code, 0, checked.stderr);
  const explained = await weft(["explain", "GET", "/v1/pets/7", "--json"], { cwd });
  assert.equal((JSON.parse(explained.stdout) as { route: string }).route, "getPet");
});

test("a document of 3.1 becomes one too, with its variables filled in and its references followed", async () => {
  copyFileSync(path.join(root, "test/plugins/openapi-31.yaml"), path.join(cwd, "shop.yaml"));
  const printed = await weft(["import", "openapi", "shop.yaml"], { cwd });
  assert.equal(printed.code, 0, printed.stderr);
  const { services, routes } = parse(printed.stdout) as {
    services: Record<string, unknown>;
    routes: { name: string; match: unknown }[];
  };
  assert.deepEqual(services, { "127.0.0.1": { endpoints: ["127.0.0.1:3001"] } });
  assert.deepEqual(
    routes.map(({ name, match }) => [name, match]),
    [
      ["addOrder", { path: { exact: "/v2/orders" }, methods: ["POST"] }],
      ["getOrder", { path: { template: "/v2/orders/{id}" }, methods: ["GET"] }],
    ],
  );
  writeFileSync(path.join(cwd, "shop-weft.yaml"), printed.stdout);
  const checked = await weft(["check", "shop-weft.yaml"], { cwd });
  assert.equal(checked.code, 0, checked.stderr);
});

test("what is no document is exit 1, with the file's name", async () => {
  writeFileSync(path.join(cwd, "old.json"), '{"swagger":"2.0"}');
  for (const [file, what] of [
    ["old.json", /old\.json: not an OpenAPI document/],
    ["none.yaml", /none\.yaml: cannot be read \(ENOENT\)/],
  ] as const) {
    const { code, stderr } = await weft(["import", "openapi", file], { cwd });
    assert.equal(code, 1);
    assert.match(stderr, what);
  }
  assert.equal((await weft(["import", "openapi"], { cwd })).code, 2);
});
