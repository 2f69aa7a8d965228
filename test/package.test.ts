/** The package as its users get it: built, packed, installed in an empty folder, and running. */

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { eventually, within } from "./support/eventually.ts";
import { Gateway } from "./support/gateway.ts";
import { answering, ok, Origin } from "./support/origin.ts";
import { freePorts } from "./support/ports.ts";
import { root } from "./support/source-tree.ts";

const work = fs.mkdtempSync(path.join(os.tmpdir(), "weft-package-"));
const home = path.join(work, "home");

function run(command: string, args: readonly string[], cwd: string): string {
  const done = spawnSync(command, args, { cwd, encoding: "utf8", timeout: 170_000 });
  assert.equal(done.status, 0, `${command} ${args.join(" ")}\n${done.stdout}${done.stderr}`);
  return done.stdout;
}

before(() => {
  const built = path.join(work, "dist");
  run(process.execPath, [path.join(root, "scripts/build.ts"), "--out", built], root);
  const tarball = fs.readdirSync(built).find((name) => name.endsWith(".tgz"));
  assert.ok(tarball !== undefined, "the build leaves a tarball");
  fs.mkdirSync(home);
  fs.writeFileSync(
    path.join(home, "package.json"),
    '{ "name": "home", "private": true, "type": "module" }\n',
  );
  run(
    "npm",
    ["install", "--no-audit", "--no-fund", "--prefer-offline", path.join(built, tarball)],
    home,
  );
});

after(() => fs.rmSync(work, { recursive: true, force: true }));

const installed = path.join(home, "node_modules/weft");
const binary = path.join(home, "node_modules/.bin/weft");

test("the package holds JavaScript and types, a licence and a readme, and no source or test", () => {
  const names = fs.readdirSync(installed, { recursive: true, encoding: "utf8" });
  assert.deepEqual(
    names.filter(
      (name) => (name.endsWith(".ts") && !name.endsWith(".d.ts")) || /(^|\/)test\//.test(name),
    ),
    [],
  );
  for (const name of ["LICENSE", "README.md", "cmd/weft.js", "proxy/pipeline/plugin.d.ts"])
    assert.ok(names.includes(name), name);
});

test("weft version prints the version of the package", () => {
  const { version } = JSON.parse(fs.readFileSync(path.join(root, "package.json"), "utf8")) as {
    version: string;
  };
  assert.match(run(binary, ["version"], home), new RegExp(version.replaceAll(".", "\\.")));
});

test("the installed gateway serves, with a plugin and a configuration in TypeScript of its user", async () => {
  await using origin = await Origin.start(answering(() => ok("from the origin")));
  await using gateway = await Gateway.start({
    command: [process.execPath, fs.realpathSync(binary)],
    files: {},
    config: ({ port, admin }) => {
      const plugin = path.join(home, "stamp.ts");
      fs.writeFileSync(
        plugin,
        `import { definePlugin } from "weft/plugin";
export default definePlugin({
  name: "stamp",
  stage: "transform",
  setup() {
    return { response: (res) => res.headers.set("x-stamp", "installed") };
  },
});
`,
      );
      return `
gateway: { listeners: [{ name: web, host: 127.0.0.1, port: ${port[0]} }] }
services: { origin: { endpoints: ["${origin.address}"] } }
routes: [{ name: all, to: origin, plugins: [request-id, { ${plugin}: {} }] }]
admin: { address: "127.0.0.1:${admin}" }
workers: 1
`;
    },
  });
  using client = await gateway.connect();
  await client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  const answer = await client.response();
  assert.equal(answer.status, 200);
  assert.equal(answer.body, "from the origin");
  assert.equal(answer.header("x-stamp"), "installed");
  assert.equal(await gateway.stop(), 0);
});

test("the installed demo runs, and ends in order", async () => {
  const [port, admin] = await freePorts(2);
  const demo = spawn(
    process.execPath,
    [fs.realpathSync(binary), "demo", "--port", String(port), "--admin-port", String(admin)],
    { cwd: home, stdio: "ignore" },
  );
  try {
    const answer = await eventually("orders to answer", async () => {
      assert.equal(demo.exitCode, null, "the demo ended");
      return fetch(`http://127.0.0.1:${port}/orders`, {
        headers: { "x-api-key": "demo-key" },
      }).catch(() => null);
    });
    assert.equal(answer.status, 200);
    assert.equal(((await answer.json()) as { service: string }).service, "orders");
    demo.kill("SIGTERM");
    const [code] = await within("the demo to end", once(demo, "exit"));
    assert.equal(code, 0);
  } finally {
    demo.kill("SIGKILL");
  }
});

test("the types of weft/plugin and weft/config are found by a compiler", () => {
  fs.writeFileSync(
    path.join(home, "uses.ts"),
    `import { definePlugin } from "weft/plugin";
import { defineConfig } from "weft/config";
export const plugin = definePlugin({ name: "x", stage: "admit", setup: () => ({ request() {} }) });
export const config = defineConfig({ gateway: { listeners: [{ name: "web", port: 8080 }] } });
`,
  );
  const flags = [
    "--noEmit",
    "--strict",
    "--module",
    "nodenext",
    "--target",
    "esnext",
    "--skipLibCheck",
    "--types",
    "",
  ];
  run(path.join(root, "node_modules/.bin/tsc"), [...flags, "uses.ts"], home);
});
