/** SIGUSR2: another process takes the sockets over, and nobody who asks can tell. */

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { eventually } from "../support/eventually.ts";
import type { Gateway } from "../support/gateway.ts";
import { exitCode, get, keepAsking, startSimple, Upstream } from "./serving.ts";

/** The process that took over, from the log of the one before. */
async function successorOf(gateway: Gateway): Promise<number> {
  const line = /"successor":(\d+),"msg":"hot restart: the new process serves"/;
  await eventually("a new process to serve", () => line.test(gateway.stderr));
  return Number(line.exec(gateway.stderr)![1]);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Ends a process that is not our child, and waits until it is gone. */
async function end(pid: number): Promise<void> {
  process.kill(pid, "SIGTERM");
  await eventually("the new process to end", () => !isAlive(pid));
}

describe("hot restart", () => {
  it("loses no request and no connection, and finishes what runs", async () => {
    await using upstream = await Upstream.start();
    await using gateway = await startSimple({ upstream: upstream.port });
    const running = get(gateway.port, "/hold");
    await upstream.heldOne();
    await using load = keepAsking(gateway.port);
    gateway.child.kill("SIGUSR2");
    const pid = await successorOf(gateway);
    try {
      upstream.letGo();
      assert.equal((await running).body, "held and answered");
      assert.equal(await exitCode(gateway), 0);
      const after = await get(gateway.port, "/after");
      assert.equal(after.body, "hello /after");
      const { asked, failed } = await load.stop();
      assert.deepEqual(failed, []);
      assert.ok(asked > 0);
      const ready = await fetch(`http://127.0.0.1:${gateway.admin}/readyz`);
      assert.equal(ready.status, 200, "the admin port has moved too");
    } finally {
      await end(pid);
    }
  });

  it("serves on when the new process cannot start", async () => {
    await using upstream = await Upstream.start();
    await using gateway = await startSimple({ upstream: upstream.port });
    writeFileSync(path.join(gateway.folder, "weft.yaml"), "routes: [");
    await eventually("the broken file to be rejected", async () => {
      return (await gateway.metric("weft_config_reload_total", { result: "rejected" })) === 1;
    });
    gateway.child.kill("SIGUSR2");
    await eventually("the failure to be told", () => gateway.stderr.includes("hot restart failed"));
    assert.equal((await get(gateway.port, "/still")).body, "hello /still");
    assert.equal(await gateway.stop(), 0);
  });
});
