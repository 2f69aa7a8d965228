/** How many callers the file descriptors of this process carry. */

import fs from "node:fs";

/** Kept for files, pipes, the admin API, timers and event loops; of each worker likewise. */
const ownDescriptors = 64;
const perWorker = 16;

/**
 * Callers' connections at most: three quarters of the descriptors that are left. The rest is for endpoints, whose
 * connections are shared (HAProxy, which derives its `maxconn` alike, keeps half). Beyond it a caller would be let in and get no endpoint, and the admin port
 * would be as dead as the rest. Infinity where the system does not tell.
 */
export function connectionsFor(workers: number, limit: number | null = descriptorLimit()): number {
  if (limit === null) return Infinity;
  return Math.max(1, Math.floor((limit - ownDescriptors - perWorker * workers) * 0.75));
}

/** Of this process; null: unlimited or unknown. Node has raised the soft limit to the hard one. */
function descriptorLimit(): number | null {
  try {
    const [, limit] = /^Max open files +(\d+)/m.exec(fs.readFileSync("/proc/self/limits", "utf8"))!;
    return Number(limit);
  } catch {
    return null;
  }
}
