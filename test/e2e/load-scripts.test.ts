/** The k6 scripts fit the demo: they ask for routes that it has and, where k6 is installed, pass against it. */

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { parse } from "yaml";
import { within } from "../support/eventually.ts";
import { root } from "../support/source-tree.ts";

const folder = path.join(root, "k6");
const scripts = ["gateway-spike.js", "gateway-steady.js", "mesh-steady.js"];
const texts = scripts.map((name) => fs.readFileSync(path.join(folder, name), "utf8"));

interface DemoConfig {
  readonly routes: readonly {
    readonly name: string;
    readonly match: { readonly path: string | { readonly exact: string } };
  }[];
}

const demo = parse(
  fs.readFileSync(path.join(root, "examples/demo/gateway.yaml"), "utf8"),
) as DemoConfig;

function isServed(target: string): boolean {
  return demo.routes.some(({ match }) =>
    typeof match.path === "string"
      ? target === match.path || target.startsWith(`${match.path}/`)
      : target === match.path.exact,
  );
}

for (const [i, name] of scripts.entries()) {
  const targets = [...texts[i]!.matchAll(/\bask\("([^"]+)"/g)].map((match) => match[1]!);

  test(`${name} asks for routes that the demo has`, () => {
    assert.ok(targets.length > 0);
    assert.deepEqual(
      targets.filter((target) => !isServed(target)),
      [],
    );
  });
}

test("the key of the scripts is the demo's", async () => {
  const text = fs.readFileSync(path.join(folder, "demo.js"), "utf8");
  const key = /"x-api-key": "([^"]+)"/.exec(text)![1]!;
  const hash = Buffer.from(await crypto.subtle.digest("SHA-256", Buffer.from(key)));
  const config = fs.readFileSync(path.join(root, "examples/demo/gateway.yaml"), "utf8");
  assert.ok(config.includes(`sha256:${hash.toString("hex")}`));
});

test("every script of the folder is explained", () => {
  const page = fs.readFileSync(path.join(root, "docs/load-testing.md"), "utf8");
  const missing = fs.readdirSync(folder).filter((name) => !page.includes(name));
  assert.deepEqual(missing, []);
});

const hasK6 = spawnSync("k6", ["version"]).status === 0;

describe("against the running demo", { skip: hasK6 ? false : "k6 is not on PATH" }, () => {
  const temporary = fs.mkdtempSync(path.join(os.tmpdir(), "weft-k6-"));
  const child = spawn(
    process.execPath,
    [path.join(root, "cmd/weft.ts"), "demo", "--port", "0", "--admin-port", "0"],
    { cwd: root, env: { ...process.env, TMPDIR: temporary }, stdio: ["ignore", "pipe", "inherit"] },
  );
  const ended = once(child, "close");
  let url = "";

  before(async () => {
    let output = "";
    const shown = Promise.withResolvers<void>();
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
      if (output.includes("Ctrl-C ends everything")) shown.resolve();
    });
    await within("the demo", Promise.race([shown.promise, ended]), 60_000);
    url = /gateway +(http:\S+)/.exec(output)![1]!;
  });
  after(async () => {
    child.kill("SIGTERM");
    await ended;
    fs.rmSync(temporary, { recursive: true, force: true });
  });

  for (const name of scripts) {
    test(`${name} passes`, async () => {
      // what is judged here are the answers: a test machine has no latency to promise
      const settings = [`BASE_URL=${url}`, "DURATION=1s", "RATE=30", "P99_MS=60000"];
      const flags = ["--quiet", ...settings.flatMap((each) => ["-e", each])];
      const k6 = spawn("k6", ["run", ...flags, path.join(folder, name)]);
      let output = "";
      k6.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
      k6.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
      const [code] = (await once(k6, "close")) as [number | null];
      assert.equal(code, 0, output);
    });
  }

  test("a wrong answer fails the run", async () => {
    const settings = ["-e", `BASE_URL=${url}/nowhere`, "-e", "DURATION=1s", "-e", "RATE=10"];
    const k6 = spawn("k6", ["run", "--quiet", ...settings, path.join(folder, "mesh-steady.js")], {
      stdio: "ignore",
    });
    const [code] = (await once(k6, "close")) as [number | null];
    assert.equal(code, 99);
  });
});
