/** Where errors go that nobody expected: to the log, whatever threw them. */

let report = (error: unknown): void => {
  process.emitWarning(error instanceof Error ? error : new Error(String(error)));
};

/** Says where {@link reportBug} writes; once per thread, before anything is served. */
export function onBug(write: (error: unknown) => void): void {
  report = write;
}

/** A handler has thrown. Its connection or timer is dropped; everything else goes on. */
export function reportBug(error: unknown): void {
  report(error);
}
