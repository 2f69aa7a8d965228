/** `weft dev`: the three commands that it prints answer what it says. */

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import path from "node:path";
import { describe, it } from "node:test";
import { promisify } from "node:util";
import { eventually, within } from "../support/eventually.ts";
import { root } from "../support/source-tree.ts";
import { get, Upstream } from "./serving.ts";

const shell = promisify(execFile);

describe("weft dev", () => {
  it("answers 200 with the key, 401 without, 429 over the limit", async () => {
    await using upstream = await Upstream.start();
    const argv = [
      path.join(root, "cmd/weft.ts"),
      "dev",
      "--port",
      "0",
      "--key",
      "it's a-key".replace(" ", "-"),
      "--limit",
      "3/min",
    ];
    const child = spawn(process.execPath, [...argv, "--to", `http://127.0.0.1:${upstream.port}`], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
    const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
    try {
      const commands = await eventually("three curl commands", () => {
        const lines = output.split("\n").filter((line) => line.trim().startsWith("curl"));
        return lines.length === 3 && output.includes("Ctrl-C") ? lines : null;
      });
      const codes = [];
      for (const command of commands) codes.push((await shell("/bin/sh", ["-c", command])).stdout);
      assert.deepEqual(codes, ["200\n", "401\n", "429\n"]);
      const port = Number(/http:\/\/127\.0\.0\.1:(\d+)/.exec(output)![1]);
      assert.equal((await get(port, "/", { "x-api-key": "wrong" })).status, 401);
      child.kill("SIGINT");
      assert.equal(await within("weft to end", ended), 0);
    } finally {
      child.kill("SIGKILL");
    }
  });
});
