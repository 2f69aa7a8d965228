/** Where a limit counts: in the memory of the process, or in Redis with a local limit for when it is away. */

import type { Consumer, Host, LimitDecision, LimiterSpec } from "../proxy/pipeline/plugin.ts";

/** What of the options decides where and how much is counted. */
export interface LimitOptions {
  readonly limit?: { readonly limit: number; readonly windowMs: number } | undefined;
  /** By the plan of the consumer; null: plans do not count. */
  readonly plans: Readonly<
    Record<string, { readonly limit: number; readonly windowMs: number }>
  > | null;
  readonly algorithm: LimiterSpec["algorithm"];
  readonly burst?: number | undefined;
  readonly store: "local" | "redis";
  readonly onStoreError: "local" | "open" | "closed";
  /** How many proxies share the store: each lets its part through when the store is away. */
  readonly replicas: number;
  readonly name: string;
}

/** One request's part of a limit. */
export interface Taking {
  readonly key: string;
  readonly cost: number;
  /** Take it though it is not there. */
  readonly force?: boolean;
  /** For `count`: milliseconds until the period in the key is over. */
  readonly endsInMs?: number;
}

/** One limit, wherever it counts. */
export interface AnyLimit {
  readonly spec: LimiterSpec;
  /** Null: the store made no decision and there is no local one. */
  take(taking: Taking): LimitDecision | null | Promise<LimitDecision | null>;
}

export interface Limits {
  /** Null: nothing limits this consumer. */
  of(consumer: Consumer | null): AnyLimit | null;
  close(): void;
}

/** How long a start waits for the first answer of the store. Milliseconds. */
const firstAnswerMs = 1500;

/**
 * Resolves when the store answers, or did not for a while: its limits begin with what `onStoreError` says. Rejects when
 * Redis is wanted and `stores.redis` is not configured. The Redis client is loaded only here.
 */
export async function openLimits(options: LimitOptions, host: Host): Promise<Limits> {
  const open = options.store === "redis" ? await openRedis(options, host) : openLocal(host);
  const base = options.limit === undefined ? null : open.limit(toSpec(options, options.limit, ""));
  if (options.plans === null) return { of: () => base, close: open.close };
  const plans = new Map(
    Object.entries(options.plans).map(([plan, rate]) => [
      plan,
      open.limit(toSpec(options, rate, `/${plan}`)),
    ]),
  );
  return {
    of: (consumer) => (consumer?.plan == null ? base : (plans.get(consumer.plan) ?? base)),
    close: open.close,
  };

  function toSpec(
    from: LimitOptions,
    rate: { limit: number; windowMs: number },
    suffix: string,
  ): LimiterSpec {
    return {
      id: `${host.route ?? ""}/${from.name}${suffix}`,
      algorithm: from.algorithm,
      limit: rate.limit,
      windowMs: rate.windowMs,
      burst: from.burst ?? rate.limit,
    };
  }
}

interface Opener {
  limit(spec: LimiterSpec): AnyLimit;
  close(): void;
}

function openLocal(host: Host): Opener {
  return {
    limit(spec) {
      const limiter = host.limiter(spec);
      return { spec, take: ({ key, cost, force }) => limiter.take(key, cost, force) };
    },
    close() {},
  };
}

async function openRedis(options: LimitOptions, host: Host): Promise<Opener> {
  const address = host.stores.redis;
  if (address === null) throw new Error("store: redis needs stores.redis in the configuration");
  const [{ redisLimit }, { releaseRedis, shareRedis }] = await Promise.all([
    import("./redis-limits.ts"),
    import("./redis-store.ts"),
  ]);
  const store = shareRedis(address, host);
  await store.settled(firstAnswerMs);
  return {
    limit(spec) {
      const remote = redisLimit(store, spec);
      const local =
        options.onStoreError === "local" ? host.limiter(shareOf(spec, options.replicas)) : null;
      const away = ({ key, cost, force }: Taking): LimitDecision | null =>
        local?.take(key, cost, force) ?? null;
      return {
        spec,
        take(taking) {
          if (!remote.answers) return away(taking);
          const { key, cost, force, endsInMs } = taking;
          return remote.take(key, cost, force, endsInMs).then((made) => made ?? away(taking));
        },
      };
    },
    close: () => releaseRedis(address),
  };
}

/** This proxy's part of a limit that all replicas keep together. */
function shareOf(spec: LimiterSpec, replicas: number): LimiterSpec {
  return {
    ...spec,
    id: `${spec.id}/away`,
    limit: Math.max(1, Math.ceil(spec.limit / replicas)),
    burst: Math.max(1, Math.ceil((spec.burst ?? spec.limit) / replicas)),
  };
}
