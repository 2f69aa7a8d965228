/** The hooks of everything that counts requests against an allowance: rate limits and quotas. */

import { problem, slot } from "../proxy/pipeline/plugin.ts";
import { callerText, clientKey } from "./limit-key.ts";
import { LimitFields, quotaExceeded, retryAfter } from "./limit-fields.ts";
import type { Cost } from "./limit-cost.ts";
import type { KeyOf } from "./limit-key.ts";
import type { AnyLimit, Limits, Taking } from "./limit-store.ts";
import type {
  Ctx,
  Hooks,
  Host,
  LimitDecision,
  Reply,
  RequestHead,
} from "../proxy/pipeline/plugin.ts";

export interface LimitParts {
  readonly name: string;
  readonly keyOf: KeyOf;
  readonly missing: "client" | "skip" | "reject";
  readonly cost: Cost;
  readonly limits: Limits;
  readonly onStoreError: "local" | "open" | "closed";
  readonly shadow: boolean;
  readonly xHeaders: boolean;
  /** Whatever is over: `limit of 100 requests per minute`. */
  readonly inWords: (limit: AnyLimit) => string;
  /** For counts of a period: what names it, and when it ends. */
  readonly period?: (limit: AnyLimit) => { readonly name: string; readonly endsInMs: number };
  /** Seconds of the window that callers are told. */
  readonly windowSeconds: (limit: AnyLimit) => number;
}

interface Taken {
  readonly limit: AnyLimit;
  readonly decision: LimitDecision;
}
interface Owing {
  readonly limit: AnyLimit;
  readonly taking: Taking;
}
interface Asked extends Owing {
  /** Whose allowance it is, without the period. */
  readonly who: string;
}

export function limitHooks(parts: LimitParts, host: Host): Hooks {
  const { name, missing, shadow, cost, limits } = parts;
  const refused = host.counter("rate_limited", ["route", "policy"]);
  const label = shadow ? `${name} (shadow)` : name;
  const labels = [host.route ?? "", label];
  const fields = new LimitFields(name, parts.xHeaders);
  const TakenSlot = slot<Taken>(`limit.${host.id}`);
  const OwingSlot = slot<Owing>(`owing.${host.id}`);
  const noKey = problem("bad-request", 400, `this request lacks what its limit ${name} counts by`);
  const noStore = problem("overloaded", 503, `the store of the limit ${name} does not answer`, {
    "retry-after": "1",
  });

  const takingOf = (limit: AnyLimit, key: string, units: number): Taking => {
    const period = parts.period?.(limit);
    if (period === undefined) return { key, cost: units };
    return { key: `${period.name}:${key}`, cost: units, endsInMs: period.endsInMs };
  };

  const conclude = (
    ctx: Ctx,
    { limit, taking, who }: Asked,
    made: LimitDecision | null,
  ): Reply | undefined => {
    if (cost.after !== null && (made === null || made.allowed || shadow))
      ctx.set(OwingSlot, { limit, taking });
    if (made === null) return parts.onStoreError === "closed" && !shadow ? noStore : undefined;
    const { endsInMs } = taking;
    const decision = endsInMs === undefined ? made : untilPeriodEnds(made, endsInMs);
    if (!shadow) ctx.set(TakenSlot, { limit, decision });
    if (decision.allowed) return undefined;
    refused.inc(labels);
    host.refused({ policy: label, caller: callerText(who), forMs: decision.retryAfterMs });
    if (shadow) return undefined;
    const detail = `over the ${parts.inWords(limit)} (policy ${name})`;
    return problem(
      "rate-limited",
      429,
      detail,
      {
        "retry-after": String(retryAfter(decision.retryAfterMs, host.random())),
        link: quotaExceeded,
      },
      { "violated-policies": [name] },
    );
  };

  const hooks: Hooks = {
    request(req: RequestHead, ctx: Ctx) {
      const limit = limits.of(ctx.consumer);
      if (limit === null) return undefined;
      let key = parts.keyOf(req, ctx);
      if (key === undefined) {
        if (missing === "skip") return undefined;
        if (missing === "reject") return shadow ? undefined : noKey;
        key = clientKey(ctx.client.address);
      }
      const taking = takingOf(limit, key, cost.before(req, ctx));
      const decision = limit.take(taking);
      if (decision instanceof Promise)
        return decision.then((late) => conclude(ctx, { limit, taking, who: key }, late));
      return conclude(ctx, { limit, taking, who: key }, decision);
    },
    response(res, ctx) {
      const taken = ctx.get(TakenSlot);
      if (taken !== undefined) {
        const seconds = parts.windowSeconds(taken.limit);
        fields.write(res.headers, taken.limit.spec.limit, seconds, taken.decision);
      }
    },
    close() {
      limits.close();
    },
  };
  const { after } = cost;
  if (after === null) return hooks;
  return {
    ...hooks,
    done(end, ctx) {
      const owing = ctx.get(OwingSlot);
      if (owing === undefined) return;
      const more = after(end);
      // late, and nobody waits for it: a store that is away loses it
      if (more > 0) void owing.limit.take({ ...owing.taking, cost: more, force: true });
    },
  };
}

function untilPeriodEnds(decision: LimitDecision, endsInMs: number): LimitDecision {
  return { ...decision, resetMs: endsInMs, retryAfterMs: decision.allowed ? 0 : endsInMs };
}
