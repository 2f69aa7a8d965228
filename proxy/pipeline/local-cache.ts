/** A bounded cache of one worker, with expiry: what `host.local` gives to plugins. */

import type { LocalCache } from "./plugin.ts";

interface Entry<V> {
  readonly value: V;
  readonly expiresMs: number;
}

/** Least recently used out first; a `Map` keeps the order. */
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
    this.entries.delete(key);
    if (entry.expiresMs <= this.now()) return undefined;
    this.entries.set(key, entry);
    return entry.value;
  }

  set(key: string, value: V, ttlMs: number = this.ttlMs): void {
    this.entries.delete(key);
    if (this.entries.size >= this.max) this.entries.delete(this.entries.keys().next().value!);
    this.entries.set(key, { value, expiresMs: this.now() + ttlMs });
  }

  delete(key: string): void {
    this.entries.delete(key);
  }

  clear(): void {
    this.entries.clear();
  }
}
