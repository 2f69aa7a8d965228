/** The k6 script with plans fits its gateway, passes against it where k6 is installed, and fails when the gateway does. */

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { hash } from "node:crypto";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { Gateway } from "../support/gateway.ts";
import { root } from "../support/source-tree.ts";

const folder = path.join(root, "k6");
const hasK6 = spawnSync("k6", ["version"]).status === 0;
const plans = fs.readFileSync(path.join(folder, "api-plans.yaml"), "utf8");
const withPlans = fs.readFileSync(path.join(folder, "api-plans.js"), "utf8");

test("the keys and the secret of api-plans.js are those of its gateway", () => {
  const keys = [...withPlans.matchAll(/"x-api-key": "([a-z]+-key)"/g)].map((match) => match[1]!);
  assert.deepEqual(new Set(keys), new Set(["free-key", "pro-key"]));
  for (const key of keys) assert.ok(plans.includes(`sha256:${hash("sha256", key, "hex")}`), key);
  assert.ok(plans.includes(`secret: ${/const secret = "([^"]+)"/.exec(withPlans)![1]!}`));
});

describe("an API with plans", { skip: hasK6 ? false : "k6 is not on PATH" }, () => {
  /** Runs the script against a gateway with this configuration. */
  async function run(config: string): Promise<{ code: number | null; output: string }> {
    const gateway = await Gateway.start({
      config: ({ port, admin }) =>
        config
          .replace('"${API_PORT:-8080}"', String(port[0]))
          .replace(/\$\{API_ADMIN.*?\}/, `${admin}`),
    });
    const url = `http://127.0.0.1:${gateway.port}`;
    const settings = [`BASE_URL=${url}`, "DURATION=2s", "RATE=30", "P99_MS=60000"];
    const flags = ["--quiet", ...settings.flatMap((each) => ["-e", each])];
    const k6 = spawn("k6", ["run", ...flags, path.join(folder, "api-plans.js")]);
    let output = "";
    k6.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
    k6.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
    const [code] = (await once(k6, "close")) as [number | null];
    await gateway.stop();
    return { code, output };
  }

  test("api-plans.js passes", async () => {
    const { code, output } = await run(plans);
    assert.equal(code, 0, output);
  });

  for (const [what, from, to] of [
    ["a plan that lets too much through", "free: { limit: 5/s }", "free: { limit: 100/s }"],
    ["a paying caller without its plan", "plan: pro }", "plan: free }"],
    ["a token for somebody else that passes", "          audience: api\n", ""],
  ] as const) {
    test(`${what} fails the run`, async () => {
      assert.ok(plans.includes(from));
      const { code, output } = await run(plans.replace(from, to));
      assert.equal(code, 99, output);
    });
  }
});
