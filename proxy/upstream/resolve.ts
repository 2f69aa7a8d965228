/** Names to addresses for dialling: what the system says (hosts file, search domains, DNS), kept for as long as DNS allows. */

import dns from "node:dns";
import net from "node:net";

export interface Address {
  readonly address: string;
  readonly family: 4 | 6;
}

type Resolved = (error: NodeJS.ErrnoException | null, addresses: readonly Address[]) => void;

/** The two calls into the system; tests pass their own. */
export interface NameSource {
  /** The system's own order of preference: hosts file, search domains, then DNS. */
  lookup(host: string, done: Resolved): void;
  /** Smallest TTL of the name's A and AAAA records in seconds; null when DNS does not know the name (hosts file, mDNS). */
  ttl(host: string, done: (seconds: number | null) => void): void;
}

export interface ResolverOptions {
  /** Monotonic milliseconds. */
  readonly now?: () => number;
  readonly source?: NameSource;
}

interface Entry {
  addresses: readonly Address[];
  /** Fresh until then. */
  untilMs: number;
  /** Still usable until then while a refresh runs. */
  staleUntilMs: number;
  waiting: Resolved[] | null;
}

/** For names that DNS knows no TTL for. */
const unknownTtlMs = 5_000;
const minTtlMs = 1_000;
const maxTtlMs = 300_000;
/** Names kept; the oldest go first. Endpoints come from the configuration, so this is only a guard. */
const maxNames = 4_096;

/**
 * Resolves names with a cache: one question at a time per name, an answer kept for its TTL (1 s to 5 min; 5 s when there
 * is none), an expired answer served once more while it is refreshed, and the last good answer kept when DNS fails.
 */
export class Resolver {
  private readonly entries = new Map<string, Entry>();
  private readonly now: () => number;
  private readonly source: NameSource;

  constructor(options: ResolverOptions = {}) {
    this.now = options.now ?? (() => performance.now());
    this.source = options.source ?? systemNames;
  }

  /** `done` may run before this returns. An error only when no address was ever known. */
  resolve(host: string, done: Resolved): void {
    const family = net.isIP(host);
    if (family !== 0) return done(null, [{ address: host, family: family as 4 | 6 }]);
    const name = host.toLowerCase();
    // RFC 6761 section 6.3: localhost never leaves the machine
    if (name === "localhost" || name.endsWith(".localhost")) return done(null, loopback);
    const nowMs = this.now();
    const entry = this.entries.get(name);
    if (entry !== undefined && entry.addresses.length > 0) {
      if (nowMs < entry.untilMs) return done(null, entry.addresses);
      if (nowMs < entry.staleUntilMs) {
        if (entry.waiting === null) this.refresh(name, entry, null);
        return done(null, entry.addresses);
      }
    }
    if (entry !== undefined && entry.waiting !== null) {
      entry.waiting.push(done);
      return;
    }
    this.refresh(name, entry ?? this.add(name), done);
  }

  private add(name: string): Entry {
    if (this.entries.size >= maxNames) {
      const oldest = this.entries.keys().next();
      if (oldest.done !== true) this.entries.delete(oldest.value);
    }
    const entry: Entry = { addresses: [], untilMs: 0, staleUntilMs: 0, waiting: null };
    this.entries.set(name, entry);
    return entry;
  }

  private refresh(name: string, entry: Entry, first: Resolved | null): void {
    entry.waiting = first === null ? [] : [first];
    this.source.lookup(name, (error, addresses) => {
      if (error !== null || addresses.length === 0)
        return this.settle(entry, error, null, minTtlMs);
      this.source.ttl(name, (seconds) => {
        const ttlMs =
          seconds === null ? unknownTtlMs : Math.min(Math.max(seconds * 1000, minTtlMs), maxTtlMs);
        this.settle(entry, null, addresses, ttlMs);
      });
    });
  }

  private settle(
    entry: Entry,
    error: NodeJS.ErrnoException | null,
    addresses: readonly Address[] | null,
    ttlMs: number,
  ): void {
    const waiting = entry.waiting ?? [];
    entry.waiting = null;
    // what worked last is better than nothing: observation wins over a failing directory
    if (addresses !== null) entry.addresses = addresses;
    entry.untilMs = entry.addresses.length > 0 ? this.now() + ttlMs : 0;
    entry.staleUntilMs = entry.untilMs + ttlMs;
    const failure = entry.addresses.length > 0 ? null : (error ?? notFound());
    for (const done of waiting) done(failure, entry.addresses);
  }
}

const loopback: readonly Address[] = [
  { address: "127.0.0.1", family: 4 },
  { address: "::1", family: 6 },
];

function notFound(): NodeJS.ErrnoException {
  return Object.assign(new Error("the name has no address"), { code: "ENOTFOUND" });
}

const systemNames: NameSource = {
  lookup(host, done) {
    dns.lookup(host, { all: true }, (error, addresses) => {
      if (error !== null) return done(error, []);
      done(
        null,
        addresses.map(({ address, family }) => ({ address, family: family === 6 ? 6 : 4 })),
      );
    });
  },
  ttl(host, done) {
    let pending = 2;
    let least: number | null = null;
    const answer = (
      error: Error | null,
      records: readonly { readonly ttl: number }[] | undefined,
    ): void => {
      if (error === null)
        for (const { ttl } of records ?? []) least = least === null ? ttl : Math.min(least, ttl);
      if (--pending === 0) done(least);
    };
    dns.resolve4(host, { ttl: true }, answer);
    dns.resolve6(host, { ttl: true }, answer);
  },
};
