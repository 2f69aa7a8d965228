/** scripts/run.mjs: what npm runs, and how it passes on arguments, signals and exit codes. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { describe, it } from "node:test";
import { root } from "../support/source-tree.ts";
import { startSimple, Upstream, exitCode } from "./serving.ts";

const runner = path.join(root, "scripts/run.mjs");

async function run(...args: string[]) {
  const child = spawn(process.execPath, [runner, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => (output += text));
  }
  const [code] = (await once(child, "close")) as [number | null];
  return { code, output };
}

describe("the runner", () => {
  it("names its tasks when it does not know one, with exit code 2", async () => {
    for (const task of ["nonsense", "constructor"]) {
      const { code, output } = await run(task);
      assert.equal(code, 2);
      assert.match(output, /start\|weft\|build\|bench\|fuzz\|soak\|scale\|check\|test/);
    }
  });

  it("hands arguments to weft and its exit code back", async () => {
    assert.match((await run("weft", "version")).output, /^weft \d/);
    assert.equal((await run("weft", "nonsense")).code, 2);
  });

  for (const signals of [["SIGTERM"], ["SIGINT", "SIGINT"]] as const) {
    it(`lets a gateway drain on ${signals.join(" and ")}`, async () => {
      await using upstream = await Upstream.start();
      await using gateway = await startSimple({
        upstream: upstream.port,
        command: [process.execPath, runner, "weft"],
      });
      for (const signal of signals) gateway.child.kill(signal);
      assert.equal(await exitCode(gateway), 0);
      assert.match(gateway.stderr, /"msg":"drained"/);
    });
  }
});
