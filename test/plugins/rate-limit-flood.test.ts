import assert from "node:assert/strict";
import { test } from "node:test";
import v8 from "node:v8";
import vm from "node:vm";
import { runDone, runRequest } from "../../proxy/pipeline/run.ts";
import { createKit } from "../support/plugin-kit.ts";

v8.setFlagsFromString("--expose-gc");
const collect = vm.runInNewContext("gc") as () => void;

function heapMiB(): number {
  collect();
  return process.memoryUsage().heapUsed / 2 ** 20;
}

for (const algorithm of ["gcra", "fixed-window", "sliding-window"]) {
  test(`${algorithm}: a million callers leave no memory behind, and reset nobody's limit`, async (t) => {
    const options = { limit: "5/min", by: { header: "x-tenant" }, algorithm };
    const kit = await createKit([{ use: "rate-limit", options }]);
    t.after(() => kit.close());
    const passes = (tenant: string): boolean => {
      const x = kit.exchange({ headers: { "x-tenant": tenant } });
      const outcome = runRequest(kit.chain, x, () => assert.fail("a local limit never waits"));
      runDone(kit.chain, x, {
        status: 200,
        code: null,
        durationMs: 1,
        requestBytes: 0,
        responseBytes: 0,
        attempts: 1,
        endpoint: null,
        end: "complete",
      });
      return outcome === null;
    };
    const spent = Array.from({ length: 20 }, (_, i) => `spent-${i}`);
    for (const tenant of spent) for (let i = 0; i < 5; i++) assert.ok(passes(tenant));
    const before = heapMiB();
    let passed = 0;
    // some with names so long that they are hashed
    for (let i = 0; i < 1_000_000; i++)
      if (passes(i % 100 === 0 ? `${i}`.padEnd(2000, "x") : `stranger-${i}`)) passed++;
    const grownMiB = heapMiB() - before;
    assert.equal(passed, 1_000_000);
    assert.ok(grownMiB < 8, `the heap grew by ${grownMiB} MiB`);
    for (const tenant of spent) assert.equal(passes(tenant), false, tenant);
  });
}
