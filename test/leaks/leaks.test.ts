/** Ten thousand exchanges that end too early, of every kind: afterwards nothing of them is left. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { eventually } from "../support/eventually.ts";
import { aborts, provoke } from "./aborts.ts";
import { Besieged } from "./besieged.ts";
import type { Holdings } from "./besieged.ts";

const count = Number(process.env["WEFT_ABORTS"] ?? 10_000);

let besieged: Besieged;
let first: Holdings;
before(async () => {
  besieged = await Besieged.start();
  // every kind a few times: code is compiled, tables and pools have their size, series exist
  await provoke(besieged.target, Object.keys(aborts).length * 20);
  first = await besieged.holdings();
});
after(() => besieged?.[Symbol.asyncDispose]());

test("after 10,000 aborted exchanges of every kind nothing is left of them", async (t) => {
  const seen = new Set<string>();
  await provoke(besieged.target, count, { onEach: (kind) => seen.add(kind) !== undefined });
  assert.deepEqual([...seen].sort(), Object.keys(aborts).sort());

  const last = await besieged.holdings();
  t.diagnostic(`before ${JSON.stringify(first)}`);
  t.diagnostic(`after  ${JSON.stringify(last)}`);
  assertNoMore(last.objects, first.objects);
  assertNoMore(last.resources, first.resources);
  assert.ok(last.timers <= first.timers, "timers");
  await eventually("descriptors to be given back", async () => {
    return (await besieged.holdings()).descriptors <= first.descriptors;
  });
  // 10,000 leaked exchanges of 1 KiB each would be 10 MiB
  assert.ok(last.heapBytes - first.heapBytes < 4 * 1024 * 1024, "JavaScript memory");
  assert.ok(last.bufferBytes - first.bufferBytes < 4 * 1024 * 1024, "buffers");
});

test("and the gateway serves on, without a complaint about itself", async () => {
  const { gateway } = besieged;
  const client = await gateway.connect();
  await client.send("GET /ok HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
  assert.equal((await client.response()).status, 200);
  assert.equal(await gateway.metric("weft_worker_restarts_total"), 0);
  assert.doesNotMatch(
    gateway.stderr,
    /uncaught|unhandled|internal error|TypeError|ReferenceError/i,
  );
  assert.equal(await gateway.stop("SIGTERM"), 0);
});

function assertNoMore(now: Record<string, number>, then: Record<string, number>): void {
  for (const [name, count] of Object.entries(now))
    assert.ok(count <= (then[name] ?? 0), `${name}: ${then[name] ?? 0} before, ${count} now`);
}
