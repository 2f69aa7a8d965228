/** Holds back slow hashes: strangers who guess must not take the processor from everyone else. */

/** Checks that run at once in one worker. */
const maxRunning = 2;
/** Checks that may wait for their turn, and for how long. */
const maxWaiting = 64;
const maxWaitMs = 2000;

let running = 0;
const waiting: (() => void)[] = [];

/** The result, in turn; null: too many wait already, or it waited too long. */
export async function inTurn<T>(check: () => Promise<T>): Promise<T | null> {
  const beganMs = performance.now();
  if (running >= maxRunning) {
    if (waiting.length >= maxWaiting) return null;
    await new Promise<void>((resolve) => waiting.push(resolve));
  } else running++;
  try {
    return performance.now() - beganMs > maxWaitMs ? null : await check();
  } finally {
    // the turn goes to the next in line, or back
    const next = waiting.shift();
    if (next === undefined) running--;
    else next();
  }
}
