/** Whether a series of looks at a process shows growth rather than noise. */

import type { Holdings } from "../leaks/besieged.ts";

const mib = 1024 * 1024;

/** What may differ between the first and the last third of a soak without being growth. */
const tolerances: readonly (readonly [
  what: string,
  of: (look: Holdings) => number,
  most: number,
])[] = [
  ["JavaScript memory", (look) => look.heapBytes, 4 * mib],
  ["buffers", (look) => look.bufferBytes, 4 * mib],
  ["resident memory", (look) => look.residentBytes, 48 * mib],
  ["descriptors", (look) => look.descriptors, 2],
  ["timers", (look) => look.timers, 2],
  ["objects of the data path", (look) => look.objects["Timed"] ?? 0, 4],
];

/**
 * Compares the least of the last third with the most of the first: what only swings stays below its earlier peak.
 * @returns a line for everything that has grown; with fewer than three looks there is nothing to compare
 */
export function growthOf(looks: readonly Holdings[]): string[] {
  const third = Math.floor(looks.length / 3);
  if (third === 0) return [];
  const lines: string[] = [];
  for (const [what, of, most] of tolerances) {
    const before = Math.max(...looks.slice(0, third).map(of));
    const after = Math.min(...looks.slice(-third).map(of));
    if (after - before > most) lines.push(`${what} grew from ${before} to ${after}`);
  }
  return lines;
}
