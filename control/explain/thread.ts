/** The worker thread in which a running weft explains a request; it posts the explanation. */

import { parentPort, workerData } from "node:worker_threads";
import { explain } from "../explain.ts";
import type { ExplainTask } from "./apart.ts";

const { config, question, mode, endpoints } = workerData as ExplainTask;
parentPort?.postMessage(
  await explain(config, question, { mode, endpoints: (service) => endpoints[service] ?? [] }),
);
