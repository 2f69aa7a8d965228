/** Notices a worker whose event loop has stopped turning: a plugin that never returns serves nobody. */

import type { SharedState } from "../proxy/observe/shared.ts";
import type { Log } from "../proxy/pipeline/plugin.ts";
import type { WorkerThread } from "./worker-thread.ts";

const lookMs = 1000;
/** Silent for this long: said once. */
const warnMs = 3000;
/** Silent for this long: ended, and started again by the supervisor. */
const endMs = 15_000;

export interface WatchdogOptions {
  readonly shared: SharedState;
  readonly threads: () => readonly WorkerThread[];
  readonly log: Log;
}

/** Looks once a second; returns how to stop. */
export function startWatchdog({ shared, threads, log }: WatchdogOptions): () => void {
  const warned = new WeakSet<WorkerThread>();
  let lastMs = shared.now();
  const timer = setInterval(() => {
    const nowMs = shared.now();
    const lateMs = nowMs - lastMs;
    lastMs = nowMs;
    // we stood still too (a suspended machine, SIGSTOP): nobody's beat says anything now
    if (lateMs > 2 * lookMs) return;
    for (const thread of threads()) {
      const beatMs = shared.lastBeatMs(thread.number);
      if (beatMs === 0) continue;
      const silentMs = nowMs - beatMs;
      const fields = { worker: thread.slot, silentMs: Math.round(silentMs) };
      if (silentMs >= endMs) {
        log.error("a worker's event loop is stuck: the worker is ended", fields);
        thread.kill(`its event loop was stuck for ${Math.round(silentMs)} ms`);
      } else if (silentMs >= warnMs && !warned.has(thread)) {
        warned.add(thread);
        log.warn("a worker's event loop does not turn", fields);
      } else if (silentMs < warnMs) warned.delete(thread);
    }
  }, lookMs).unref();
  return () => clearInterval(timer);
}
