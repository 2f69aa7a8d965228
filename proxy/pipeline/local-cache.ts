/** A bounded cache of one worker, with expiry: what `host.local` gives to plugins. */

import type { LocalCache } from "./plugin.ts";

/** A text that may be kept: one that was cut out of a head would keep the whole head. */
export function toOwnText(text: string): string {
  return ` ${text}`.slice(1);
}

interface Entry<V> {
  readonly key: string;
  readonly value: V;
  readonly expiresMs: number;
}

/**
 * Least recently used out first; a `Map` keeps the order. While it is not half full nothing is put in order: half as
 * many entries as it may have come before the first goes, and whoever is used meanwhile is moved.
 */
export class BoundedCache<V> implements LocalCache<V> {
  private readonly entries = new Map<string, Entry<V>>();
  private readonly max: number;
  private readonly ttlMs: number;
  private readonly now: () => number;

  /**
   * @param options `max` entries; `ttlMs` of an entry that is set without its own (default: none)
   * @param now monotonic milliseconds
   */
  constructor(options: { readonly max: number; readonly ttlMs?: number }, now: () => number) {
    this.max = Math.max(1, options.max);
    this.ttlMs = options.ttlMs ?? Number.POSITIVE_INFINITY;
    this.now = now;
  }

  get size(): number {
    return this.entries.size;
  }

  get(key: string): V | undefined {
    const entry = this.entries.get(key);
    if (entry === undefined) return undefined;
    if (entry.expiresMs <= this.now()) {
      this.entries.delete(key);
      return undefined;
    }
    if (this.entries.size * 2 >= this.max) {
      this.entries.delete(key);
      this.entries.set(entry.key, entry);
    }
    return entry.value;
  }

  set(key: string, value: V, ttlMs: number = this.ttlMs): void {
    this.entries.delete(key);
    if (this.entries.size >= this.max) this.entries.delete(this.entries.keys().next().value!);
    const own = toOwnText(key);
    this.entries.set(own, { key: own, value, expiresMs: this.now() + ttlMs });
  }

  delete(key: string): void {
    this.entries.delete(key);
  }

  clear(): void {
    this.entries.clear();
  }
}
