/** One renewal per session over all worker threads: a refresh token that rotates must not be used twice. */

import type { Renewal } from "./oidc-tokens.ts";
import type { Host, LocalCache, SharedLimiter } from "../proxy/pipeline/plugin.ts";

/** How long a renewed session stands in for the cookie before it. Milliseconds. */
const renewedMs = 60_000;
/** A failed renewal is not tried again for so long, by any worker. */
const pauseMs = 5000;
/** How long a request without good tokens waits for the worker that renews them. */
const patienceMs = 5000;

interface News {
  readonly key: string;
  readonly renewal: Renewal;
}

/** What all workers know of renewals. */
export class Renewals {
  private readonly known: LocalCache<Renewal>;
  private readonly running = new Map<string, Promise<Renewal>>();
  private readonly waiting = new Map<string, ((renewal: Renewal) => void)[]>();
  private readonly claims: SharedLimiter;
  private readonly channel: BroadcastChannel;

  /** @param name of the client at its provider */
  constructor(host: Host, name: string) {
    this.known = host.local("renewed", { max: 4096, ttlMs: renewedMs });
    this.claims = host.limiter({
      id: `oidc renewals of ${name}`,
      algorithm: "gcra",
      limit: 1,
      burst: 1,
      windowMs: pauseMs,
    });
    this.channel = new BroadcastChannel(`weft oidc ${name}`);
    this.channel.onmessage = ({ data }: MessageEvent) => this.learn(data as News);
    // Node's; the type is the browsers'
    (this.channel as unknown as { unref(): void }).unref();
  }

  /**
   * At once when it was tried a moment ago, or when another worker is at it and `mayPass`: `away` then.
   * @param key stands for the session's cookie
   * @param mayPass the tokens at hand are still good
   */
  renew(
    key: string,
    mayPass: boolean,
    tryRenewal: () => Promise<Renewal>,
  ): Renewal | Promise<Renewal> {
    const known = this.known.get(key);
    if (known !== undefined) return known;
    const running = this.running.get(key);
    if (running !== undefined) return running;
    if (!this.claims.take(key, 1).allowed) return mayPass ? "away" : this.waitFor(key);
    const begun = tryRenewal()
      .then((renewal) => {
        const news: News = { key, renewal };
        this.channel.postMessage(news);
        this.learn(news);
        return renewal;
      })
      .finally(() => this.running.delete(key));
    this.running.set(key, begun);
    return begun;
  }

  close(): void {
    this.channel.close();
    for (const key of this.waiting.keys()) this.tell(key, "away");
  }

  private learn({ key, renewal }: News): void {
    this.known.set(key, renewal, typeof renewal === "string" ? pauseMs : renewedMs);
    this.tell(key, renewal);
  }

  private tell(key: string, renewal: Renewal): void {
    const waiting = this.waiting.get(key) ?? [];
    this.waiting.delete(key);
    for (const resolve of waiting) resolve(renewal);
  }

  private waitFor(key: string): Promise<Renewal> {
    const { promise, resolve } = Promise.withResolvers<Renewal>();
    const timer = setTimeout(() => this.tell(key, "away"), patienceMs).unref();
    const others = this.waiting.get(key) ?? [];
    this.waiting.set(key, [...others, resolve]);
    return promise.finally(() => clearTimeout(timer));
  }
}
