/** Numbers for living threads in shared memory: the main thread is 0, workers take the lowest that is free. */

export class ThreadNumbers {
  private readonly taken = new Set<number>();
  private readonly limit: number;

  /** @param limit numbers there are, the main thread's included */
  constructor(limit: number) {
    this.limit = limit;
  }

  /** Beyond the limit (workers that never finish draining, reload after reload) the last number is shared. */
  take(): number {
    for (let number = 1; number < this.limit; number++) {
      if (this.taken.has(number)) continue;
      this.taken.add(number);
      return number;
    }
    return this.limit - 1;
  }

  give(number: number): void {
    this.taken.delete(number);
  }
}
