/** What threads share besides limits: locks, endpoint rows, the connection count, the clock. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, test } from "node:test";
import { Worker } from "node:worker_threads";
import {
  EndpointTable,
  endpointTableBytes,
  Health,
  Place,
} from "../../../proxy/observe/shared-endpoints.ts";
import { lock, unlock } from "../../../proxy/observe/shared-lock.ts";
import { SharedState } from "../../../proxy/observe/shared.ts";

const lockUrl = new URL("../../../proxy/observe/shared-lock.ts", import.meta.url).href;
const sharedUrl = new URL("../../../proxy/observe/shared.ts", import.meta.url).href;

function thread(code: string, workerData: unknown): Worker {
  const url = new URL(`data:text/javascript,${encodeURIComponent(code)}`);
  return new Worker(url, { workerData });
}

describe("the lock", () => {
  test("threads that add under it lose nothing", async () => {
    const memory = new SharedArrayBuffer(16);
    const code = `
      import { parentPort, workerData } from 'node:worker_threads'
      const { lock, unlock } = await import(${JSON.stringify(lockUrl)})
      const words = new Int32Array(workerData)
      for (let i = 0; i < 20000; i++) { lock(words, 0); words[1] = words[1] + 1; unlock(words, 0) }
      parentPort.postMessage('done')`;
    const workers = [thread(code, memory), thread(code, memory), thread(code, memory)];
    await Promise.all(workers.map((worker) => once(worker, "message")));
    assert.equal(new Int32Array(memory)[1], 60_000);
  });

  test("a lock whose holder died is taken over", async () => {
    const memory = new SharedArrayBuffer(8);
    const words = new Int32Array(memory);
    const code = `
      import { parentPort, workerData } from 'node:worker_threads'
      const { lock } = await import(${JSON.stringify(lockUrl)})
      lock(new Int32Array(workerData), 0)
      parentPort.postMessage('held')`;
    const worker = thread(code, memory);
    await once(worker, "message");
    await worker.terminate();
    assert.notEqual(words[0], 0);
    lock(words, 0);
    unlock(words, 0);
    assert.equal(words[0], 0);
  });

  test("only the holder can free it", () => {
    const words = new Int32Array(new SharedArrayBuffer(4));
    words[0] = 12345;
    unlock(words, 0);
    assert.equal(words[0], 12345);
  });
});

describe("the clock", () => {
  test("is the same in another thread", async () => {
    const shared = SharedState.create({ endpoints: 1, limits: 32 });
    const code = `
      import { parentPort, workerData } from 'node:worker_threads'
      const { SharedState } = await import(${JSON.stringify(sharedUrl)})
      parentPort.postMessage(SharedState.open(workerData, { thread: 1 }).now())`;
    const before = shared.now();
    const [there] = (await once(thread(code, shared.handles), "message")) as [number];
    assert.ok(there > before - 1 && there < shared.now() + 1);
  });
});

describe("the connection count", () => {
  test("is capped over all threads", () => {
    const main = SharedState.create({ endpoints: 1, limits: 32 });
    const one = SharedState.open(main.handles, { thread: 1 });
    const two = SharedState.open(main.handles, { thread: 2 });
    assert.deepEqual(
      [one, two, one, two].map((worker) => worker.enterConnection(3)),
      [true, true, true, false],
    );
    assert.equal(main.connections, 3);
    one.leaveConnection();
    assert.equal(two.enterConnection(3), true);
  });

  test("forgets those of a dead thread", () => {
    const main = SharedState.create({ endpoints: 1, limits: 32 });
    const one = SharedState.open(main.handles, { thread: 1 });
    const two = SharedState.open(main.handles, { thread: 2 });
    one.enterConnection(10);
    one.enterConnection(10);
    two.enterConnection(10);
    one.beat();
    assert.ok(main.lastBeatMs(1) > 0);
    main.forgetThread(1);
    assert.equal(main.connections, 1);
    assert.equal(main.lastBeatMs(1), 0);
  });
});

describe("endpoint rows", () => {
  const create = (rows: number): EndpointTable =>
    new EndpointTable(new SharedArrayBuffer(endpointTableBytes(rows)), rows, [1, 2]);
  const main = { own: true, nowMs: 1000 };
  const worker = { own: false, nowMs: 1000 };

  test("one key is one row, whoever asks first", () => {
    const table = create(4);
    const a = table.acquire("s\0a:1", worker);
    const again = table.acquire("s\0a:1", main);
    const b = table.acquire("s\0b:1", main);
    a.setHealth(Health.unhealthy);
    assert.equal(again.health, Health.unhealthy);
    assert.equal(b.health, Health.unknown);
  });

  test("the change count moves only when something changed", () => {
    const table = create(4);
    const row = table.acquire("a", main);
    const before = table.changes;
    row.setHealth(Health.healthy);
    assert.equal(table.changes, before + 1);
    row.setHealth(Health.healthy);
    row.succeeded();
    row.failed();
    assert.equal(table.changes, before + 1);
  });

  test("a full table still gives rows, that one thread has for itself", () => {
    const table = create(1);
    table.acquire("a", main);
    const alone = table.acquire("b", main);
    alone.setHealth(Health.unhealthy);
    assert.equal(alone.health, Health.unhealthy);
    assert.equal(table.acquire("a", worker).health, Health.unknown);
  });

  test("a row that the main thread gave up is reused after a while, and the old handle writes nothing", () => {
    const table = create(1);
    const old = table.acquire("a", main);
    old.setHealth(Health.unhealthy);
    old.disown(1000);
    const early = table.acquire("b", { own: true, nowMs: 50_000 });
    assert.notEqual(early.table, table);
    const late = table.acquire("b", { own: true, nowMs: 70_000 });
    assert.equal(late.table, table);
    assert.equal(late.health, Health.unknown);
    old.setHealth(Health.unhealthy);
    old.eject(1e9, 1);
    assert.equal(old.failed(), 0);
    assert.deepEqual([late.health, late.place, late.failures], [Health.unknown, Place.in, 0]);
    assert.deepEqual([old.health, old.place], [Health.unknown, Place.in]);
  });

  test("one probe at a time, and only after the ejection", () => {
    const row = create(1).acquire("a", main);
    row.eject(2000, 1);
    assert.equal(row.claimProbe(1999, 9000), false);
    assert.equal(row.claimProbe(2000, 9000), true);
    assert.equal(row.place, Place.probing);
    assert.equal(row.claimProbe(2001, 9000), false);
    assert.equal(row.claimProbe(9000, 19_000), true);
    row.readmit(9500);
    assert.equal(row.place, Place.in);
  });

  test("ejections in a row are counted until it was calm for long", () => {
    const row = create(1).acquire("a", main);
    assert.equal(row.nextTimes(1000, 60_000), 1);
    row.eject(2000, 1);
    assert.equal(row.nextTimes(2500, 60_000), 2);
    row.eject(4000, 2);
    row.readmit(4000);
    assert.equal(row.nextTimes(60_000, 60_000), 3);
    assert.equal(row.nextTimes(64_001, 60_000), 1);
  });
});
