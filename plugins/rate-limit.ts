/** Limits how often a caller may ask: exact over the process, or over all replicas with Redis. */

import { z } from "zod";
import { definePlugin, problem, slot } from "../proxy/pipeline/plugin.ts";
import { byOption, clientKey, toKeyOf } from "./limit-key.ts";
import { LimitFields, windowText } from "./limit-fields.ts";
import { openLimits } from "./limit-store.ts";
import { rateOption } from "./options.ts";
import type { AnyLimit } from "./limit-store.ts";
import type { Ctx, LimitDecision, Reply, RequestHead } from "../proxy/pipeline/plugin.ts";

const config = z
  .strictObject({
    limit: rateOption().optional(),
    plan: z.boolean().default(false),
    by: byOption.optional(),
    algorithm: z.enum(["gcra", "fixed-window", "sliding-window"]).default("gcra"),
    burst: z.int().min(1).optional(),
    cost: z.int().min(1).default(1),
    missing: z.enum(["client", "skip", "reject"]).default("client"),
    store: z.enum(["local", "redis"]).default("local"),
    onStoreError: z.enum(["local", "open", "closed"]).default("local"),
    replicas: z.int().min(1).default(1),
    shadow: z.boolean().default(false),
    name: z
      .string()
      .regex(/^[ !#-[\]-~]{1,64}$/, "a name is plain text without quotes")
      .default("default"),
    xHeaders: z.boolean().default(false),
  })
  .refine(
    ({ limit, plan }) => limit !== undefined || plan,
    'rate-limit needs a limit such as "100/min", or plan: true',
  )
  .refine(
    ({ limit, burst, cost }) => limit === undefined || cost <= (burst ?? limit.limit),
    "the cost of a request is above what may come at once",
  );

export default definePlugin({
  name: "rate-limit",
  stage: "limit",
  modes: ["gateway", "mesh-outbound", "mesh-inbound"],
  perRoute: true,
  config,
  async setup(options, host) {
    const { cost, missing, name, shadow } = options;
    // plans belong to consumers
    const keyOf = await toKeyOf(options.by ?? (options.plan ? "consumer" : "client"), host);
    const limits = await openLimits(options, host);
    const refused = host.counter("rate_limited", ["route", "policy"]);
    const labels = [host.route ?? "", shadow ? `${name} (shadow)` : name];
    const fields = new LimitFields(name, options.xHeaders);
    const Taken = slot<{ readonly limit: AnyLimit; readonly decision: LimitDecision }>(
      `rate-limit.${host.id}`,
    );
    const noKey = problem(
      "bad-request",
      400,
      `this request lacks what its rate limit ${name} counts by`,
    );
    const noStore = problem(
      "overloaded",
      503,
      `the store of the rate limit ${name} does not answer`,
      {
        "retry-after": "1",
      },
    );

    const conclude = (
      ctx: Ctx,
      limit: AnyLimit,
      decision: LimitDecision | null,
    ): Reply | undefined => {
      if (decision === null)
        return options.onStoreError === "closed" && !shadow ? noStore : undefined;
      if (!shadow) ctx.set(Taken, { limit, decision });
      if (decision.allowed) return undefined;
      refused.inc(labels);
      if (shadow) return undefined;
      const seconds = Math.max(1, Math.ceil(decision.retryAfterMs / 1000));
      const detail = `over the limit of ${limit.spec.limit} requests per ${windowText(limit.spec.windowMs)} (policy ${name})`;
      return problem(
        "rate-limited",
        429,
        detail,
        { "retry-after": String(seconds) },
        { "violated-policies": [name] },
      );
    };

    return {
      request(req: RequestHead, ctx: Ctx) {
        const limit = limits.of(ctx.consumer);
        if (limit === null) return undefined;
        let key = keyOf(req, ctx);
        if (key === undefined) {
          if (missing === "skip") return undefined;
          if (missing === "reject") return shadow ? undefined : noKey;
          key = clientKey(ctx.client.address);
        }
        const decision = limit.take(key, cost);
        if (decision instanceof Promise) return decision.then((late) => conclude(ctx, limit, late));
        return conclude(ctx, limit, decision);
      },
      response(res, ctx) {
        const taken = ctx.get(Taken);
        if (taken !== undefined) fields.write(res.headers, taken.limit.spec, taken.decision);
      },
      close() {
        limits.close();
      },
    };
  },
});
