/** Entry of a worker thread. */

import { parentPort, workerData } from "node:worker_threads";
import type { ToWorker, WorkerStart } from "./protocol.ts";
import { WorkerRuntime } from "./worker-runtime.ts";

if (parentPort === null) throw new Error("worker.ts runs in a worker thread only");
const runtime = new WorkerRuntime(workerData as WorkerStart, parentPort);
process.on("exit", () => runtime.close());
parentPort.on("message", (message: ToWorker) => void runtime.receive(message));
await runtime.begin();
