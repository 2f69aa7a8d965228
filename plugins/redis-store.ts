/** Limits kept in Redis, single or a cluster: one connection per worker, decisions in time, and a pause for a store that is away. */

import { setTimeout as delay } from "node:timers/promises";
import { Cluster, Redis } from "ioredis";
import { RateLimiterRedis, RateLimiterRes } from "rate-limiter-flexible";
import { storeScripts } from "./redis-scripts.ts";
import type { Host, LimitDecision, LimiterSpec } from "../proxy/pipeline/plugin.ts";

/** A decision takes at most 20 ms; what is left of it is for the event loop. */
const answerWithinMs = 15;
/** After a failure the store is asked again by one probe at a time: first after this long, then after twice as long. */
const firstPauseMs = 100;
const longestPauseMs = 2000;
/** A probe may take longer than a decision: nobody waits for it. But an answer this slow is none. */
const probeWithinMs = 1000;

/** A URL, or those of some nodes of a cluster. */
export type RedisAddress = string | readonly string[];
type StoreHost = Pick<Host, "log" | "storeUp" | "random">;
type Command = (...args: (string | number)[]) => Promise<unknown>;

/** One Redis of this worker. Commands of one turn of the event loop travel together. */
export class RedisStore {
  readonly client: Redis | Cluster;
  private readonly host: StoreHost;
  private readonly isCluster: boolean;
  private isUp: boolean | null = null;
  private failures = 0;
  private probe: NodeJS.Timeout | null = null;
  private isClosed = false;

  constructor(address: RedisAddress, host: StoreHost) {
    this.host = host;
    this.isCluster = typeof address !== "string";
    this.client = connect(address, host);
    for (const { command, lua } of Object.values(storeScripts))
      this.client.defineCommand(command, { numberOfKeys: 1, lua });
    this.client.on("error", (error: Error) => this.sawDown(error.message));
    this.client.on("ready", () => this.ask());
    this.client.on("close", () => this.sawDown("the connection was closed"));
    // of a cluster one node may be away while the others answer: its keys fail, and the map is read anew
    if (this.isCluster) this.client.on("node error", () => {});
  }

  /** False: it did not answer lately, and a probe is finding out when it does again. */
  get answers(): boolean {
    return this.isUp === true;
  }

  /** Resolves when it answers, or has had the time to. */
  async settled(limitMs: number): Promise<void> {
    const endMs = performance.now() + limitMs;
    while (this.isUp === null && !this.isClosed && performance.now() < endMs) await delay(5);
  }

  /** Runs one of our scripts. Null: no answer in time. Never rejects. */
  run(command: string, args: readonly (string | number)[]): Promise<unknown> {
    const call = (this.client as unknown as Record<string, Command>)[command]!;
    return this.inTime(() => call.apply(this.client, [...args]));
  }

  /** Null: no answer in time. Never rejects. */
  inTime<T>(ask: () => Promise<T>): Promise<T | null> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        // an answer that waits behind a busy event loop is read before this is called a failure
        setImmediate(() => {
          if (!isOver) this.sawDown(`no answer within ${answerWithinMs} ms`);
          finish(null);
        });
      }, answerWithinMs);
      let isOver = false;
      const finish = (value: T | null): void => {
        if (isOver) return;
        isOver = true;
        clearTimeout(timer);
        resolve(value);
      };
      ask().then(finish, (error: unknown) => {
        if (!isOver) this.sawDown(reasonOf(error));
        finish(null);
      });
    });
  }

  close(): void {
    this.isClosed = true;
    if (this.probe !== null) clearTimeout(this.probe);
    this.client.removeAllListeners();
    this.client.on("error", () => {});
    this.client.disconnect();
  }

  private sawUp(): void {
    this.failures = 0;
    if (this.isClosed || this.isUp === true) return;
    this.isUp = true;
    this.host.storeUp("redis", true);
    this.host.log.info("the redis store answers");
  }

  private sawDown(reason: string): void {
    if (this.isClosed) return;
    if (this.isUp !== false) {
      this.isUp = false;
      this.host.storeUp("redis", false);
      this.host.log.warn("the redis store is away", { reason });
    }
    if (this.probe !== null) return;
    // proxies that lost it together do not come back together
    const pauseMs = Math.min(firstPauseMs * 2 ** this.failures++, longestPauseMs);
    const jittered = pauseMs * (0.5 + this.host.random());
    this.probe = setTimeout(() => this.ask(), jittered).unref();
  }

  /** One harmless script, as decisions are: a store that is loading, read-only or not a master of anything fails it. */
  private ask(): void {
    if (this.probe !== null) clearTimeout(this.probe);
    let isOver = false;
    const settle = (reason: string | null): void => {
      if (isOver || this.isClosed) return;
      isOver = true;
      clearTimeout(deadline);
      this.probe = null;
      if (reason === null) this.sawUp();
      else this.sawDown(reason);
    };
    const deadline = setTimeout(() => settle("no answer to a probe"), probeWithinMs).unref();
    this.probe = deadline;
    const { command } = storeScripts.gcra;
    const call = (this.client as unknown as Record<string, Command>)[command]!;
    const sentMs = performance.now();
    call.call(this.client, `weft:probe:${Math.floor(this.host.random() * 1e6)}`, 1, 2, 1, 1).then(
      () => settle(performance.now() - sentMs > probeWithinMs / 4 ? "a slow probe" : null),
      (error: unknown) => settle(reasonOf(error)),
    );
  }
}

function connect(address: RedisAddress, host: StoreHost): Redis | Cluster {
  const wait = (attempt: number): number =>
    Math.min(50 * 2 ** attempt, 2000) * (0.5 + host.random());
  const shared = {
    // a command that cannot be sent now is of no use later
    enableOfflineQueue: false,
    enableAutoPipelining: true,
    connectTimeout: 2000,
    maxRetriesPerRequest: 0,
  };
  if (typeof address === "string") return new Redis(address, { ...shared, retryStrategy: wait });
  const { username, password, protocol } = new URL(address[0]!);
  return new Cluster([...address], {
    enableOfflineQueue: false,
    enableAutoPipelining: true,
    clusterRetryStrategy: wait,
    // a key that has moved is asked for once more, where it is now
    maxRedirections: 2,
    retryDelayOnFailover: 1,
    retryDelayOnClusterDown: 1,
    retryDelayOnMoved: 0,
    slotsRefreshTimeout: 1000,
    redisOptions: {
      ...shared,
      ...(username === "" ? {} : { username: decodeURIComponent(username) }),
      ...(password === "" ? {} : { password: decodeURIComponent(password) }),
      ...(protocol === "rediss:" ? { tls: {} } : {}),
    },
  });
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

const stores = new Map<string, { readonly store: RedisStore; users: number }>();

/** The one store of this worker for an address. Give it back with {@link releaseRedis}. */
export function shareRedis(address: RedisAddress, host: StoreHost): RedisStore {
  const key = String(address);
  let entry = stores.get(key);
  if (entry === undefined)
    stores.set(key, (entry = { store: new RedisStore(address, host), users: 0 }));
  entry.users++;
  return entry.store;
}

export function releaseRedis(address: RedisAddress): void {
  const key = String(address);
  const entry = stores.get(key);
  if (entry === undefined || --entry.users > 0) return;
  stores.delete(key);
  entry.store.close();
}

/** One limit in Redis. */
export interface RedisLimit {
  /** False: {@link take} would have no answer. */
  readonly answers: boolean;
  /**
   * Null: the store made no decision.
   * @param force takes the cost though it is not there
   * @param endsInMs `count` only: when the period of the key is over
   */
  take(
    key: string,
    cost: number,
    force?: boolean,
    endsInMs?: number,
  ): Promise<LimitDecision | null>;
}

export function redisLimit(store: RedisStore, spec: LimiterSpec): RedisLimit {
  const { algorithm } = spec;
  return algorithm === "fixed-window" || algorithm === "count"
    ? new WindowLimit(store, spec)
    : new ScriptLimit(store, spec, storeScripts[algorithm].command);
}

/** What no library has: GCRA, and sliding windows that never let more through than the limit. */
class ScriptLimit implements RedisLimit {
  private readonly store: RedisStore;
  private readonly spec: LimiterSpec;
  private readonly command: string;
  private readonly prefix: string;
  private readonly points: number;
  private readonly ms: number;

  constructor(store: RedisStore, spec: LimiterSpec, command: string) {
    const isGcra = spec.algorithm === "gcra";
    this.store = store;
    this.spec = spec;
    this.command = command;
    this.prefix = `weft:${spec.algorithm}:${spec.windowMs}:${spec.id}:`;
    this.points = isGcra ? (spec.burst ?? spec.limit) : spec.limit;
    this.ms = isGcra ? spec.windowMs / spec.limit : spec.windowMs;
  }

  get answers(): boolean {
    return this.store.answers;
  }

  async take(key: string, cost: number, force = false): Promise<LimitDecision | null> {
    const args = [this.prefix + key, cost, this.points, Math.ceil(this.ms * 1000) / 1000];
    const answer = await this.store.run(this.command, [...args, force ? 1 : 0]);
    if (!Array.isArray(answer)) return null;
    const [allowed, remaining, resetMs, retryAfterMs] = answer.map(Number);
    return {
      allowed: allowed === 1,
      limit: this.spec.limit,
      remaining: remaining!,
      resetMs: Math.max(0, resetMs!),
      retryAfterMs: Math.max(0, retryAfterMs!),
    };
  }
}

/** Fixed windows and quotas: rate-limiter-flexible's counter, one round trip a decision. */
class WindowLimit implements RedisLimit {
  private readonly store: RedisStore;
  private readonly limit: number;
  private readonly windowMs: number;
  private readonly counter: RateLimiterRedis;

  constructor(store: RedisStore, spec: LimiterSpec) {
    this.store = store;
    this.limit = spec.limit;
    this.windowMs = spec.windowMs;
    this.counter = new RateLimiterRedis({
      storeClient: store.client,
      keyPrefix: `weft:${spec.algorithm}:${spec.windowMs}:${spec.id}`,
      points: spec.limit,
      duration: Math.ceil(spec.windowMs / 1000),
    });
  }

  get answers(): boolean {
    return this.store.answers;
  }

  async take(
    key: string,
    cost: number,
    force = false,
    endsInMs = this.windowMs,
  ): Promise<LimitDecision | null> {
    const points = Math.ceil(cost);
    const period = { customDuration: Math.max(1, Math.ceil(endsInMs / 1000)) };
    const { counter, limit } = this;
    const result = await this.store.inTime(() =>
      force
        ? counter.penalty(key, points, period)
        : counter.consume(key, points, period).catch(refused),
    );
    if (result === null) return null;
    const allowed = force || result.consumedPoints <= limit;
    // the counter has counted what it refused: that is given back, beside the exchange
    if (!allowed) counter.reward(key, points).catch(() => {});
    const taken = allowed ? result.consumedPoints : result.consumedPoints - points;
    const resetMs = Math.max(0, result.msBeforeNext);
    return {
      allowed,
      limit,
      remaining: Math.max(0, limit - taken),
      resetMs,
      retryAfterMs: allowed ? 0 : resetMs,
    };
  }
}

/** A refusal is a result; anything else is a store that failed. */
function refused(reason: unknown): RateLimiterRes {
  if (reason instanceof RateLimiterRes) return reason;
  throw reason;
}
