/** Callers in daily use, where this machine has them: curl, nghttp, h2load. */

import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { promisify } from "node:util";
import { after, before, test } from "node:test";
import { Serving } from "./serving.ts";

const run = promisify(execFile);
const isMissing = (program: string): string | false =>
  spawnSync(program, ["--version"]).status === 0 ? false : `${program} is not installed`;

let serving: Serving;
before(async () => {
  serving = await Serving.start();
});
after(() => serving.stop());

test("curl, in the clear and over TLS", { skip: isMissing("curl") }, async () => {
  const [plain, secure] = serving.gateway.ports;
  for (const args of [
    ["--http2-prior-knowledge", `http://127.0.0.1:${plain}/`],
    [
      "--http2",
      "-k",
      "--resolve",
      `test.example:${secure}:127.0.0.1`,
      `https://test.example:${secure}/`,
    ],
  ]) {
    const { stdout } = await run("curl", ["-sS", "-d", "hello", "-w", " %{http_version}", ...args]);
    assert.equal(stdout, "hello 2");
  }
});

test("nghttp, with its priorities of old", { skip: isMissing("nghttp") }, async () => {
  const { stdout } = await run("nghttp", [
    "-nv",
    "-m",
    "5",
    `http://127.0.0.1:${serving.gateway.port}/`,
  ]);
  assert.equal(stdout.match(/:status: 200/g)?.length, 5);
  assert.doesNotMatch(stdout, /RST_STREAM|PROTOCOL_ERROR/);
});

test("h2load: every request succeeds", { skip: isMissing("h2load") }, async () => {
  const { stdout } = await run("h2load", [
    "-n2000",
    "-c4",
    "-m32",
    `http://127.0.0.1:${serving.gateway.port}/`,
  ]);
  assert.match(stdout, /2000 succeeded, 0 failed, 0 errored, 0 timeout/);
});
