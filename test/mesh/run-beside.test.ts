/** The command beside a sidecar: its exit code, signals, and programs that cannot be started. */

import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { runBeside, type Beside } from "../../mesh/run-beside.ts";
import { keptLog } from "../proxy/listen/echo.ts";
import { eventually } from "../support/eventually.ts";

function node(code: string, isTerminal = false): Beside {
  return runBeside([process.execPath, "-e", code], {
    env: process.env,
    log: keptLog(),
    isTerminal,
  });
}

async function flagFile(t: TestContext): Promise<string> {
  const dir = await mkdtemp(path.join(tmpdir(), "weft-beside-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  return path.join(dir, "ready");
}

test("ends with the app's exit code", async () => {
  assert.equal(await node("process.exit(0)").exited, 0);
  assert.equal(await node("process.exit(37)").exited, 37);
});

test("says which signal ended the app, as a shell does", async () => {
  assert.equal(await node("process.kill(process.pid, 'SIGKILL')").exited, 137);
  assert.equal(
    await node("process.kill(process.pid, 'SIGTERM'); setInterval(() => {}, 1000)").exited,
    143,
  );
});

test("passes signals on, and leaves Ctrl-C of a terminal to the terminal", async (t) => {
  const ready = await flagFile(t);
  const flag = JSON.stringify(ready);
  const code = `process.on('SIGINT', () => process.exit(3)); process.on('SIGTERM', () => process.exit(5));
    require('node:fs').writeFileSync(${flag}, ''); setInterval(() => {}, 1000)`;
  const beside = node(code, true);
  await eventually("the app", () => existsSync(ready));
  beside.signal("SIGINT");
  beside.signal("SIGTERM");
  assert.equal(await beside.exited, 5);
  beside.signal("SIGTERM");
});

test("gives the shell's codes for a program that is missing or cannot be run", async (t) => {
  const log = keptLog();
  const options = { env: process.env, log, isTerminal: false };
  assert.equal(await runBeside(["/no/such/program"], options).exited, 127);
  assert.match(log.lines[0]!, /cannot start \/no\/such\/program: there is no such program/);
  const file = await flagFile(t);
  await writeFile(file, "not a program", { mode: 0o644 });
  assert.equal(await runBeside([file], options).exited, 126);
});
