/** The running process as its admin API sees it. */

import type { AdminSource } from "../control/admin/source.ts";
import type { Supervisor } from "./supervisor.ts";

/** @param drain begins to drain; the process stays until a signal ends it */
export function createAdminSource(supervisor: Supervisor, drain: () => void): AdminSource {
  const { mode, services, log } = supervisor;
  return {
    mode,
    startedAtMs: supervisor.startedAtMs,
    workers: supervisor.workerCount,
    live: () => true,
    readiness: () => ({
      ready: supervisor.isReady,
      listeners: supervisor.plan.states(!supervisor.draining && supervisor.applied !== null),
      snapshot: supervisor.applied?.version ?? null,
      draining: supervisor.draining,
      lastRejected: supervisor.lastRejected,
    }),
    current: () => supervisor.applied,
    endpoints: (service) => services.states(service),
    purge: (url) => supervisor.purge(url),
    refused: () => supervisor.refused.list(),
    metrics: () => supervisor.metrics.render(),
    reload: () => supervisor.reload(),
    apply: (text) => supervisor.put(text),
    drain,
    get logLevel() {
      return log.level;
    },
    setLogLevel: (level) => supervisor.setLogLevel(level),
  };
}
