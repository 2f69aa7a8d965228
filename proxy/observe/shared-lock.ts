/** A lock between threads for a few instructions at a time. */

/** A thread that holds a lock longer than this is taken for dead. Milliseconds. */
const STEAL_MS = 500;
const SPINS = 200;

/** This thread's mark in a lock word; random, since a restarted thread must not look like the dead one. */
const mark = 1 + Math.floor(Math.random() * 0x7ffffffe);

/**
 * Takes `words[index]`; 0 is free. What is done under it must not throw, wait or call out.
 * A thread can be terminated between any two instructions, so a lock that stays held is taken over.
 */
export function lock(words: Int32Array, index: number): void {
  if (Atomics.compareExchange(words, index, 0, mark) === 0) return;
  contend(words, index);
}

export function unlock(words: Int32Array, index: number): void {
  // only our own mark: a thread that was robbed while it slept must not free the thief's lock
  Atomics.compareExchange(words, index, mark, 0);
}

function contend(words: Int32Array, index: number): void {
  let holder = Atomics.load(words, index);
  let sinceMs = performance.now();
  for (;;) {
    for (let i = 0; i < SPINS; i++)
      if (Atomics.compareExchange(words, index, 0, mark) === 0) return;
    const now = Atomics.load(words, index);
    if (now !== holder) {
      holder = now;
      sinceMs = performance.now();
    } else if (now !== 0) {
      if (
        performance.now() - sinceMs > STEAL_MS &&
        Atomics.compareExchange(words, index, now, mark) === now
      )
        return;
      // the holder may be waiting for this core: sleep a moment
      Atomics.wait(words, index, now, 0.1);
    }
  }
}
