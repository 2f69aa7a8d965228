/** Waiting in tests: for a condition, with a deadline that is only reached when the test fails. */

import { setTimeout as delay } from "node:timers/promises";

/** How long a test waits for something before it fails, in milliseconds. Generous: a busy machine is not a bug, and on one
 * core among six busy others a gateway alone takes half a minute to start. */
export const patienceMs = Number(process.env["WEFT_TEST_PATIENCE_MS"] ?? 60_000);

/**
 * Asks `probe` until it gives something other than undefined, false or null, and returns that.
 * For conditions of another process that announces nothing; what announces itself is awaited instead.
 */
export async function eventually<T>(
  what: string,
  probe: () => T | undefined | null | false | Promise<T | undefined | null | false>,
  limitMs = patienceMs,
): Promise<T> {
  const end = performance.now() + limitMs;
  for (;;) {
    const found = await probe();
    if (found !== undefined && found !== null && found !== false) return found;
    if (performance.now() > end) throw new Error(`waited ${limitMs} ms for ${what}`);
    await delay(10);
  }
}

/** The promise's value, or a failure that says what was awaited. */
export async function within<T>(
  what: string,
  promise: Promise<T>,
  limitMs = patienceMs,
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${limitMs} ms for ${what}`)), limitMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
