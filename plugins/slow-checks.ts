/** Holds back slow hashes: strangers who guess must not take the processor from everyone else. */

/** Checks that run at once in one worker. */
const maxRunning = 2;
/** Checks that may wait for their turn. */
const maxWaiting = 64;

let running = 0;
const waiting: (() => void)[] = [];

/** The result, in turn; null: too many wait already. */
export async function inTurn<T>(check: () => Promise<T>): Promise<T | null> {
  if (running >= maxRunning) {
    if (waiting.length >= maxWaiting) return null;
    await new Promise<void>((resolve) => waiting.push(resolve));
  } else running++;
  try {
    return await check();
  } finally {
    // the turn goes to the next in line, or back
    const next = waiting.shift();
    if (next === undefined) running--;
    else next();
  }
}
