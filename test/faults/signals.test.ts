/** A process that is stopped, crashes or is killed, and a worker that dies again and again. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setImmediate as turn, setTimeout as delay } from "node:timers/promises";
import { get, simpleConfig, startSimple, Upstream } from "../cmd/serving.ts";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";

/** Longer than a silent worker is given by the watchdog. */
const stoppedMs = 17_000;

const deadly = `
import { definePlugin } from "weft/plugin";
export default definePlugin({
  name: "deadly", stage: "transform",
  setup: () => ({ request: (req) => void (req.headers.has("x-die") && process.exit(7)) }),
});
`;

describe("a process that", { concurrency: true }, () => {
  it("was stopped for longer than its watchdog waits serves on, and ends no worker", async () => {
    await using upstream = await Upstream.start();
    await using gateway = await startSimple({ upstream: upstream.port });
    // its deadline of 15 s passes meanwhile; but the answer is there when the process wakes up
    const running = get(gateway.port, "/hold");
    await upstream.heldOne();
    gateway.child.kill("SIGSTOP");
    const queued = get(gateway.port, "/queued");
    await delay(stoppedMs);
    upstream.letGo();
    await turn();
    gateway.child.kill("SIGCONT");
    assert.equal((await running).body, "held and answered");
    assert.equal((await queued).body, "hello /queued");
    // two looks of the watchdog later
    const uptime = async () => gateway.metric("weft_config_age_seconds");
    const wanted = (await uptime()) + 3;
    await eventually("three more seconds", async () => (await uptime()) >= wanted);
    assert.equal(await gateway.metric("weft_worker_restarts_total"), 0);
    assert.doesNotMatch(gateway.stderr, /event loop is stuck/);
    assert.equal((await get(gateway.port, "/after")).status, 200);
  });

  for (const signal of ["SIGKILL", "SIGSEGV"] as const) {
    it(`ended by ${signal} can be started again at once, on the same ports`, async () => {
      await using upstream = await Upstream.start();
      await using first = await startSimple({ upstream: upstream.port });
      // one connection at rest, one in use: both sides of them are left in a hurry
      using idle = await first.connect();
      await idle.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
      assert.equal((await idle.response()).status, 200);
      const running = assert.rejects(get(first.port, "/hold"));
      await upstream.heldOne();
      assert.equal(await first.stop(signal), null, "by the signal");
      await running;
      await idle.untilEnded();
      await using second = await Gateway.start({
        config: ({ admin }) =>
          simpleConfig({ port: first.ports, admin }, { upstream: upstream.port }),
      });
      assert.equal((await get(first.port, "/again")).body, "hello /again");
      assert.equal(await second.stop(), 0);
    });
  }

  it("has a worker that dies again and again starts it ever later, and recovers", async () => {
    await using upstream = await Upstream.start();
    await using gateway = await startSimple({
      upstream: upstream.port,
      routes: "  - { name: all, to: app, plugins: [./deadly.ts] }",
      workers: 1,
      files: { "deadly.ts": deadly },
    });
    const times: number[] = [];
    for (let death = 1; death <= 6; death++) {
      await get(gateway.port, "/", { "x-die": "now" }).catch(() => {});
      await eventually(`restart ${death}`, async () => {
        return (await gateway.metric("weft_worker_restarts_total")) === death;
      });
      times.push(performance.now());
    }
    // at once, then after at least 50, 100, 200, 400, 800 ms
    assert.ok(times[5]! - times[0]! >= 1550, `${times[5]! - times[0]!} ms`);
    assert.equal((await get(gateway.port)).status, 200);
  });
});
