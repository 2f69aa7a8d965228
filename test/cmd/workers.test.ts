/** Workers that die: replaced, counted, and hardly noticed. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { eventually } from "../support/eventually.ts";
import { get, startSimple, Upstream } from "./serving.ts";

/** Dies as its header says; answers otherwise. */
const deadly = `
import { definePlugin } from "weft/plugin";
export default definePlugin({
  name: "deadly", stage: "transform",
  setup() {
    return {
      request(req) {
        switch (req.headers.get("x-die")) {
          case "exit": process.exit(7);
          case "throw": setTimeout(() => { throw new Error("thrown too late to catch"); }, 0); break;
          case "reject": void Promise.reject(new Error("nobody awaited this")); break;
          case "print": console.log("printed by a plugin"); break;
        }
      },
    };
  },
});
`;

const routes = "  - { name: all, to: app, plugins: [./deadly.ts] }";

describe("a dead worker", () => {
  for (const [how, reason] of [
    ["exit", /exit code 7/],
    ["throw", /thrown too late to catch/],
    ["reject", /nobody awaited this/],
  ] as const) {
    it(`is started again after it ended by ${how}`, async () => {
      await using upstream = await Upstream.start();
      await using gateway = await startSimple({
        upstream: upstream.port,
        routes,
        files: { "deadly.ts": deadly },
      });
      await get(gateway.port, "/", { "x-die": how }).catch(() => {});
      await eventually("the restart to be counted", async () => {
        return (await gateway.metric("weft_worker_restarts_total")) === 1;
      });
      await eventually("readiness", () => gateway.isReady());
      const answers = await Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map(() => get(gateway.port)));
      assert.deepEqual(
        answers.map(({ status }) => status),
        Array.from({ length: 8 }, () => 200),
      );
      assert.match(gateway.stderr, reason);
    });
  }

  it("leaves new connections to the others while it is away, again and again", async () => {
    await using upstream = await Upstream.start();
    await using gateway = await startSimple({
      upstream: upstream.port,
      routes,
      files: { "deadly.ts": deadly },
    });
    for (let death = 1; death <= 3; death++) {
      await get(gateway.port, "/", { "x-die": "exit" }).catch(() => {});
      // whoever connects now is served, at once or by whoever accepts for the dead one
      const answers = await Promise.all(Array.from({ length: 12 }, () => get(gateway.port)));
      assert.ok(answers.every(({ status }) => status === 200));
      await eventually("the restart to be counted", async () => {
        return (await gateway.metric("weft_worker_restarts_total")) === death;
      });
    }
  });

  it("keeps the counters of a dead worker and drops its gauges", async () => {
    await using upstream = await Upstream.start();
    await using gateway = await startSimple({
      upstream: upstream.port,
      routes,
      workers: 1,
      files: { "deadly.ts": deadly },
    });
    for (let i = 0; i < 5; i++) await get(gateway.port);
    await get(gateway.port, "/", { "x-die": "exit" }).catch(() => {});
    await eventually("the restart to be counted", async () => {
      return (await gateway.metric("weft_worker_restarts_total")) === 1;
    });
    await get(gateway.port);
    await eventually("all six to be counted", async () => {
      return (await gateway.metric("weft_requests_total", { status: "200" })) === 6;
    });
    await eventually("no connection to be open", async () => {
      return (await gateway.metric("weft_connections", { side: "downstream" })) === 0;
    });
  });

  it("says what a plugin printed in the log, not on stdout", async () => {
    await using upstream = await Upstream.start();
    await using gateway = await startSimple({
      upstream: upstream.port,
      routes,
      files: { "deadly.ts": deadly },
    });
    await get(gateway.port, "/", { "x-die": "print" });
    await eventually("the line", () => gateway.stderr.includes("printed by a plugin"));
    assert.equal(gateway.stdout, "");
  });
});
