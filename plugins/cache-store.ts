/** Answers kept in memory: bounded in bytes, found by URL and by what Vary names, least recently used out first. */

import type { Terms } from "./cache-rules.ts";
import type { Fields } from "../proxy/pipeline/plugin.ts";

/** One answer. */
export interface Kept {
  readonly status: number;
  /** Without those of the connection, and without Content-Length. */
  readonly headers: readonly (readonly [string, string])[];
  readonly body: Buffer;
  readonly terms: Terms;
  /** Monotonic milliseconds. */
  readonly arrivedMs: number;
  /** Names in lower case, and the values of the request that it answers. */
  readonly vary: readonly (readonly [name: string, value: string])[];
  /** Of its path, when the request was sent: another one since means that it may have changed. */
  readonly generation: number;
}

/** Variants of one URL: the oldest gives way. */
const variantLimit = 32;
/** What an answer takes besides its texts. */
const overheadBytes = 500;

interface Place {
  variants: Kept[];
  bytes: number;
}

export class CacheStore {
  private readonly places = new Map<string, Place>();
  private readonly limitBytes: number;
  private total = 0;

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes;
  }

  /** Bytes in use. */
  get bytes(): number {
    return this.total;
  }

  /** One answer may take an eighth of the whole. */
  get largestBytes(): number {
    return Math.floor(this.limitBytes / 8);
  }

  find(key: string, headers: Fields): Kept | null {
    const place = this.places.get(key);
    if (place === undefined) return null;
    this.places.delete(key);
    this.places.set(key, place);
    return place.variants.find(({ vary }) => matches(vary, headers)) ?? null;
  }

  /** Takes the place of what answers the same requests. */
  put(key: string, kept: Kept): void {
    const place = this.places.get(key) ?? { variants: [], bytes: 0 };
    const identity = JSON.stringify(kept.vary);
    const others = place.variants.filter(({ vary }) => JSON.stringify(vary) !== identity);
    // the newest first: of several that match it is the one to use
    this.set(key, [kept, ...others].slice(0, variantLimit));
    for (const oldest of this.places.keys()) {
      if (this.total <= this.limitBytes) break;
      this.delete(oldest);
    }
  }

  delete(key: string): void {
    const place = this.places.get(key);
    if (place === undefined) return;
    this.places.delete(key);
    this.total -= place.bytes;
  }

  clear(): void {
    this.places.clear();
    this.total = 0;
  }

  private set(key: string, variants: Kept[]): void {
    this.delete(key);
    const bytes = variants.reduce((sum, one) => sum + sizeOf(one), key.length);
    this.places.set(key, { variants, bytes });
    this.total += bytes;
  }
}

/** Names in lower case with the request's values. */
export function varyOf(field: string | undefined, headers: Fields): Kept["vary"] {
  const names = (field ?? "")
    .split(",")
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== "");
  return [...new Set(names)].toSorted().map((name) => [name, normal(headers.get(name))] as const);
}

function matches(vary: Kept["vary"], headers: Fields): boolean {
  return vary.every(([name, value]) => normal(headers.get(name)) === value);
}

/** Spaces around commas mean nothing; an absent field is not an empty one. */
function normal(value: string | undefined): string {
  return value === undefined ? "\0" : value.trim().replace(/\s*,\s*/g, ",");
}

function sizeOf({ headers, body }: Kept): number {
  return (
    headers.reduce((sum, [name, value]) => sum + name.length + value.length, body.length) +
    overheadBytes
  );
}
