/** Limits kept in Redis: one connection per worker and URL, decisions in time, and a pause for a store that is away. */

import { RateLimiterRedis, RateLimiterRes } from "rate-limiter-flexible";
import { Redis } from "ioredis";
import { storeScript } from "./redis-scripts.ts";
import type { Host, LimitDecision, LimiterSpec } from "../proxy/pipeline/plugin.ts";

/** A decision takes at most 20 ms; what is left of it is for the event loop. */
const answerWithinMs = 15;
/** After a failure the store is not asked for this long. */
const pauseMs = 1000;

/** One Redis of this worker. */
export class RedisStore {
  readonly client: Redis;
  private readonly host: Pick<Host, "now" | "log" | "storeUp">;
  private isUp: boolean | null = null;
  private askAgainMs = 0;

  constructor(url: string, host: Pick<Host, "now" | "log" | "storeUp">) {
    this.host = host;
    this.client = new Redis(url, {
      // a command that cannot be sent now is of no use later
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      connectTimeout: 2000,
      retryStrategy: (attempt) => Math.min(50 * 2 ** attempt, 2000),
    });
    this.client.on("error", (error) => this.sawDown(error.message));
    this.client.on("ready", () => this.sawUp());
    this.client.on("close", () => this.sawDown("the connection was closed"));
  }

  /** Null: no decision in time, now or lately. Never rejects. */
  async take(limiter: RateLimiterRedis, key: string, cost: number): Promise<RateLimiterRes | null> {
    if (this.client.status !== "ready" || this.host.now() < this.askAgainMs) return null;
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<null>((resolve) => {
      timer = setTimeout(() => {
        this.sawDown(`no answer within ${answerWithinMs} ms`);
        resolve(null);
      }, answerWithinMs);
    });
    const asked = this.ask(limiter, key, cost);
    const answer = await Promise.race([asked, patience]);
    clearTimeout(timer);
    return answer;
  }

  close(): void {
    this.client.removeAllListeners();
    this.client.on("error", () => {});
    this.client.disconnect();
  }

  private async ask(
    limiter: RateLimiterRedis,
    key: string,
    cost: number,
  ): Promise<RateLimiterRes | null> {
    try {
      const result = await limiter.consume(key, cost);
      this.sawUp();
      return result;
    } catch (refused) {
      if (refused instanceof RateLimiterRes) {
        this.sawUp();
        return refused;
      }
      this.sawDown(refused instanceof Error ? refused.message : String(refused));
      return null;
    }
  }

  private sawUp(): void {
    this.askAgainMs = 0;
    if (this.isUp === true) return;
    this.isUp = true;
    this.host.storeUp("redis", true);
    this.host.log.info("the redis store answers");
  }

  private sawDown(reason: string): void {
    this.askAgainMs = this.host.now() + pauseMs;
    this.host.storeUp("redis", false);
    if (this.isUp === false) return;
    this.isUp = false;
    this.host.log.warn("the redis store is away", { reason });
  }
}

const stores = new Map<string, { readonly store: RedisStore; users: number }>();

/** The one store of this worker for a URL. Give it back with {@link releaseRedis}. */
export function shareRedis(url: string, host: Pick<Host, "now" | "log" | "storeUp">): RedisStore {
  let entry = stores.get(url);
  if (entry === undefined)
    stores.set(url, (entry = { store: new RedisStore(url, host), users: 0 }));
  entry.users++;
  return entry.store;
}

export function releaseRedis(url: string): void {
  const entry = stores.get(url);
  if (entry === undefined || --entry.users > 0) return;
  stores.delete(url);
  entry.store.close();
}

/** One limit in Redis. */
export class RedisLimit {
  private readonly store: RedisStore;
  private readonly limiter: RateLimiterRedis;
  private readonly spec: LimiterSpec;

  constructor(store: RedisStore, spec: LimiterSpec) {
    this.store = store;
    this.spec = spec;
    // a command of one's own per limit: rate-limiter-flexible defines its script on the client under one name
    const storeClient = Object.create(store.client) as Redis;
    this.limiter = new RateLimiterRedis({
      storeClient,
      keyPrefix: `weft:${spec.algorithm}:${spec.id}`,
      points: spec.algorithm === "gcra" ? (spec.burst ?? spec.limit) : spec.limit,
      duration: Math.ceil(spec.windowMs / 1000),
      customIncrTtlLuaScript: storeScript(spec),
    });
  }

  /** Null: the store made no decision. */
  async take(key: string, cost: number): Promise<LimitDecision | null> {
    const result = await this.store.take(this.limiter, key, cost);
    if (result === null) return null;
    const allowed = result.consumedPoints <= this.limiter.points;
    const untilMs = Math.max(0, result.msBeforeNext);
    return {
      allowed,
      limit: this.spec.limit,
      remaining: allowed ? result.remainingPoints : 0,
      resetMs: untilMs,
      retryAfterMs: allowed ? 0 : untilMs,
    };
  }
}
