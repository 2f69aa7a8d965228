/** Preloaded into every process of the demo: ends it when the demo is gone, however that ended. */

import { isMainThread } from "node:worker_threads";

if (isMainThread && process.channel) {
  process.channel.unref();
  process.once("disconnect", () => {
    process.kill(process.pid, "SIGTERM");
    setTimeout(() => process.kill(process.pid, "SIGKILL"), 3000).unref();
  });
}
