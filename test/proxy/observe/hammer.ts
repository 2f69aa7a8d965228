/** A worker thread of the tests: takes from one shared limiter as fast as it can and says how often it was allowed. */

import { parentPort, workerData } from "node:worker_threads";
import type { LimiterSpec } from "../../../proxy/pipeline/plugin.ts";
import { SharedState, type SharedHandles } from "../../../proxy/observe/shared.ts";

export interface HammerWork {
  readonly handles: SharedHandles;
  readonly spec: LimiterSpec;
  readonly thread: number;
  readonly keys: readonly string[];
  readonly rounds: number;
  /** Int32: threads that are ready; all start when it reaches `threads`. */
  readonly gate: SharedArrayBuffer;
  readonly threads: number;
}

const work = workerData as HammerWork;
const shared = SharedState.open(work.handles, { thread: work.thread });
const limiter = shared.limiter(work.spec);
const gate = new Int32Array(work.gate);
if (Atomics.add(gate, 0, 1) + 1 === work.threads) Atomics.notify(gate, 0);
for (let ready = Atomics.load(gate, 0); ready < work.threads; ready = Atomics.load(gate, 0))
  Atomics.wait(gate, 0, ready);

const allowed = work.keys.map(() => 0);
for (let round = 0; round < work.rounds; round++) {
  for (const [i, key] of work.keys.entries()) if (limiter.take(key, 1).allowed) allowed[i]!++;
}
parentPort!.postMessage(allowed);
