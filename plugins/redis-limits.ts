/** Limits kept in Redis: our scripts for GCRA and sliding windows, rate-limiter-flexible for fixed windows and quotas. */

import { RateLimiterRedis, RateLimiterRes } from "rate-limiter-flexible";
import { storeScripts } from "./redis-scripts.ts";
import type { ScriptBatch } from "./redis-batch.ts";
import type { RedisStore } from "./redis-store.ts";
import type { LimitDecision, LimiterSpec } from "../proxy/pipeline/plugin.ts";

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
    : new ScriptLimit(store, spec, store.batch(storeScripts[algorithm]));
}

/** What no library has: GCRA, and sliding windows that never let more through than the limit. */
class ScriptLimit implements RedisLimit {
  private readonly store: RedisStore;
  private readonly spec: LimiterSpec;
  private readonly batch: ScriptBatch;
  private readonly prefix: string;
  private readonly points: number;
  private readonly ms: number;

  constructor(store: RedisStore, spec: LimiterSpec, batch: ScriptBatch) {
    const isGcra = spec.algorithm === "gcra";
    this.store = store;
    this.spec = spec;
    this.batch = batch;
    this.prefix = `weft:${spec.algorithm}:${spec.windowMs}:${spec.id}:`;
    this.points = isGcra ? (spec.burst ?? spec.limit) : spec.limit;
    const ms = isGcra ? spec.windowMs / spec.limit : spec.windowMs;
    this.ms = Math.ceil(ms * 1000) / 1000;
  }

  get answers(): boolean {
    return this.store.answers;
  }

  take(key: string, cost: number, force = false): Promise<LimitDecision | null> {
    const numbers = [cost, this.points, this.ms, force ? 1 : 0];
    return new Promise((resolve) => {
      this.batch.add({
        key: this.prefix + key,
        numbers,
        settle: (answer, at) => resolve(answer === null ? null : this.decisionAt(answer, at)),
      });
    });
  }

  private decisionAt(answer: readonly number[], at: number): LimitDecision {
    return {
      allowed: answer[at] === 1,
      limit: this.spec.limit,
      remaining: answer[at + 1]!,
      resetMs: Math.max(0, answer[at + 2]!),
      retryAfterMs: Math.max(0, answer[at + 3]!),
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
        ? counter.penalty(key, points, period).then(checked)
        : counter.consume(key, points, period).catch(refused).then(checked),
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

/** Throws when the store's answer was none of a counter. */
function checked(result: RateLimiterRes): RateLimiterRes {
  if (!Number.isFinite(result.consumedPoints) || !Number.isFinite(result.msBeforeNext))
    throw new Error("its answer is none of a counter");
  return result;
}
