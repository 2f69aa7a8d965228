/** A key set behind a URL: cached, renewed in the background, kept when its source is away. */

import { fetchText } from "./fetch-text.ts";
import { keysFromSet } from "./jwt-keys.ts";
import type { VerifyKey } from "./jwt-keys.ts";

/** A fetch, in the background. */
const fetchLimits = { timeoutMs: 5000, maxBytes: 512 * 1024 };
/** Keys are looked up again for an unknown name, or after a failure, at most this often. */
const lookupPauseMs = 1000;
/** How long a request waits for a look-up. */
export const lookupWaitMs = 500;
const defaultAgeMs = 600_000;
const shortestAgeMs = 10_000;
const longestAgeMs = 86_400_000;

/** Where a key set is: at a URL, or where an issuer's metadata says. */
export type KeySetPlace = { readonly url: string } | { readonly issuer: string };

/** One key set of this worker. */
export class RemoteKeys {
  /** The last good ones. */
  keys: readonly VerifyKey[] = [];
  /** Counts up when the keys change: what was verified with the old ones is to be forgotten. */
  version = 0;
  /** Of the last fetch; null when it succeeded or none has ended. */
  lastError: string | null = null;
  private readonly place: KeySetPlace;
  private readonly now: () => number;
  private text = "";
  private foundUrl: string | null = null;
  private staleAtMs = 0;
  private askedMs = Number.NEGATIVE_INFINITY;
  private running: Promise<void> | null = null;

  /** @param now monotonic milliseconds */
  constructor(place: KeySetPlace, now: () => number) {
    this.place = place;
    this.now = now;
  }

  /** A fetch is under way. */
  get isFetching(): boolean {
    return this.running !== null;
  }

  /** Starts a fetch when the keys are old; never waits. */
  keepFresh(): void {
    if (this.now() >= this.staleAtMs) void this.fetchOnce();
  }

  /** Looks the keys up again, at most once a second; settles after at most {@link lookupWaitMs}. */
  async lookUp(): Promise<void> {
    const fetching = this.fetchOnce();
    if (fetching === null) return;
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, lookupWaitMs);
    });
    await Promise.race([fetching, patience]);
    clearTimeout(timer);
  }

  /** The fetch under way, a new one, or null: the last one is too recent. */
  private fetchOnce(): Promise<void> | null {
    if (this.running !== null) return this.running;
    const nowMs = this.now();
    if (nowMs - this.askedMs < lookupPauseMs) return null;
    this.askedMs = nowMs;
    this.running = this.fetch().finally(() => {
      this.running = null;
    });
    return this.running;
  }

  private async fetch(): Promise<void> {
    try {
      const { text, maxAgeMs } = await fetchText(await this.url(), fetchLimits);
      if (text !== this.text) {
        // a secret that can be fetched is none
        this.keys = keysFromSet(text).filter(({ key }) => key.type === "public");
        this.text = text;
        this.version++;
      }
      const ageMs = Math.min(longestAgeMs, Math.max(shortestAgeMs, maxAgeMs ?? defaultAgeMs));
      this.staleAtMs = this.now() + ageMs;
      this.lastError = null;
    } catch (error) {
      this.lastError = error instanceof Error ? error.message : String(error);
      // the issuer may have moved its keys
      this.foundUrl = null;
    }
  }

  /** OpenID Connect Discovery 1.0 section 4. */
  private async url(): Promise<string> {
    if ("url" in this.place) return this.place.url;
    if (this.foundUrl !== null) return this.foundUrl;
    const { issuer } = this.place;
    const where = `${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`;
    const metadata: unknown = JSON.parse((await fetchText(where, fetchLimits)).text);
    if (typeof metadata !== "object" || metadata === null)
      throw new Error(`${where}: not a JSON object`);
    const { issuer: said, jwks_uri: found } = metadata as Record<string, unknown>;
    if (said !== issuer) throw new Error(`${where}: names the issuer ${JSON.stringify(said)}`);
    if (typeof found !== "string" || !/^https?:\/\//.test(found))
      throw new Error(`${where}: has no jwks_uri`);
    this.foundUrl = found;
    return found;
  }
}

const shared = new Map<string, { readonly keys: RemoteKeys; users: number }>();

/** The one key set of this worker for a place, so that routes and reloads share it. Give it back with {@link releaseKeys}. */
export function shareKeys(place: KeySetPlace, now: () => number): RemoteKeys {
  const name = JSON.stringify(place);
  let entry = shared.get(name);
  if (entry === undefined)
    shared.set(name, (entry = { keys: new RemoteKeys(place, now), users: 0 }));
  entry.users++;
  return entry.keys;
}

export function releaseKeys(place: KeySetPlace): void {
  const name = JSON.stringify(place);
  const entry = shared.get(name);
  if (entry !== undefined && --entry.users === 0) shared.delete(name);
}
