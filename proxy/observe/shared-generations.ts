/** Numbers by key that any thread can advance: what was kept under an older one is old in all threads at once. */

import type { SharedGenerations } from "../pipeline/plugin.ts";
import { SeededHash } from "./shared-hash.ts";

/** Keys share slots by their hash: one that is advanced makes others look older than they are, never younger. */
const SLOTS = 65_536;

export const generationsBytes = (SLOTS + 1) * 4;

export class GenerationTable implements SharedGenerations {
  private readonly slots: Int32Array;
  private readonly hash: SeededHash;

  /** @param seed two secret words, the same in every thread */
  constructor(memory: SharedArrayBuffer, seed: readonly [number, number]) {
    this.slots = new Int32Array(memory);
    this.hash = new SeededHash(seed[0], seed[1]);
  }

  of(key: string): number {
    return (Atomics.load(this.slots, SLOTS) + Atomics.load(this.slots, this.slot(key))) | 0;
  }

  advance(key: string): void {
    Atomics.add(this.slots, this.slot(key), 1);
  }

  advanceAll(): void {
    Atomics.add(this.slots, SLOTS, 1);
  }

  private slot(key: string): number {
    this.hash.hash(key);
    return (this.hash.a >>> 0) % SLOTS;
  }
}
