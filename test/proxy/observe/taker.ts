/** A worker thread of the tests: for each message it takes from one shared limiter by a clock that jumps as it is told. */

import { parentPort, workerData } from "node:worker_threads";
import type { LimiterSpec } from "../../../proxy/pipeline/plugin.ts";
import { SharedState, type SharedHandles } from "../../../proxy/observe/shared.ts";

export interface TakerWork {
  readonly handles: SharedHandles;
  readonly thread: number;
}

/** One round. */
export interface Taking {
  readonly spec: LimiterSpec;
  readonly key: string;
  /** What the clock of this thread shows at each take: milliseconds, forwards and backwards. */
  readonly momentsMs: readonly number[];
  readonly cost: number;
  /** Int32: threads that are ready; all start when it reaches `threads`. */
  readonly gate: SharedArrayBuffer;
  readonly threads: number;
}

const { handles, thread } = workerData as TakerWork;
const shared = SharedState.open(handles, { thread, offsetMs: 0 });

parentPort!.on("message", ({ spec, key, momentsMs, cost, gate, threads }: Taking) => {
  let nowMs = 0;
  const limiter = shared.limiter(spec, () => nowMs);
  const ready = new Int32Array(gate);
  if (Atomics.add(ready, 0, 1) + 1 === threads) Atomics.notify(ready, 0);
  for (let now = Atomics.load(ready, 0); now < threads; now = Atomics.load(ready, 0))
    Atomics.wait(ready, 0, now);
  let units = 0;
  for (const momentMs of momentsMs) {
    nowMs = momentMs;
    if (limiter.take(key, cost).allowed) units += cost;
  }
  parentPort!.postMessage(units);
});
