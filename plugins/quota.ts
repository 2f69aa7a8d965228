/** Bounds what a caller may use in a day or a calendar month, counted in the store so that a restart forgets nothing. */

import { z } from "zod";
import { definePlugin } from "../proxy/pipeline/plugin.ts";
import { costOption, toCost } from "./limit-cost.ts";
import { limitHooks } from "./limit-hooks.ts";
import { byOption, toKeyOf } from "./limit-key.ts";
import { openLimits } from "./limit-store.ts";
import { nameOption } from "./options.ts";
import { keptMs, parseQuota, periodLengthMs, periodOf, perOf } from "./quota-period.ts";
import type { LimitOptions } from "./limit-store.ts";
import type { Quota } from "./quota-period.ts";
import type { Host } from "../proxy/pipeline/plugin.ts";

const usual: Quota = { limit: 10_000, per: "day" };

const quotaOption = z.string().transform((value, issues): Quota => {
  const quota = parseQuota(value);
  if (quota !== null) return quota;
  issues.addIssue(`${JSON.stringify(value)} is not a quota such as "10000/day" or "1000000/month"`);
  return z.NEVER;
});

const config = z.strictObject({
  /** Default: 10000/day, and none beside `plan`. */
  limit: quotaOption.optional(),
  plan: z.boolean().default(false),
  by: byOption.default("consumer"),
  cost: costOption.default(1),
  missing: z.enum(["client", "skip", "reject"]).default("client"),
  store: z.enum(["local", "redis"]).optional(),
  onStoreError: z.enum(["local", "open", "closed"]).default("local"),
  replicas: z.int().min(1).default(1),
  shadow: z.boolean().default(false),
  name: nameOption(),
  xHeaders: z.boolean().default(false),
});

export default definePlugin({
  name: "quota",
  stage: "limit",
  modes: ["gateway", "mesh-outbound", "mesh-inbound"],
  // what is refused for the moment must not use up the day
  after: ["rate-limit", "concurrency"],
  perRoute: true,
  config,
  async setup(options, host) {
    const limit = options.limit ?? (options.plan ? undefined : usual);
    const { name, missing, onStoreError, shadow, xHeaders } = options;
    const keyOf = await toKeyOf(options.by, host);
    const cost = await toCost(options.cost);
    const store = options.store ?? (host.stores.redis === null ? "local" : "redis");
    if (store === "local")
      host.log.warn("a quota without stores.redis is forgotten when the process ends", {
        route: host.route,
        quota: name,
      });
    const limits = await openLimits(
      {
        limit: limit === undefined ? undefined : toCount(limit),
        plans: options.plan ? planQuotas(host) : null,
        algorithm: "count",
        store,
        onStoreError,
        replicas: options.replicas,
        name: `quota/${name}`,
      },
      host,
    );
    return limitHooks(
      {
        name,
        keyOf,
        missing,
        cost,
        limits,
        onStoreError,
        shadow,
        xHeaders,
        inWords: ({ spec }) => `quota of ${spec.limit} per ${perOf(spec.windowMs)}`,
        period: ({ spec }) => periodOf(perOf(spec.windowMs), host.wallNow()),
        windowSeconds: ({ spec }) => periodLengthMs(perOf(spec.windowMs), host.wallNow()) / 1000,
      },
      host,
    );
  },
});

function toCount({ limit, per }: Quota): { limit: number; windowMs: number } {
  return { limit, windowMs: keptMs(per) };
}

/** Plans that have a quota. */
function planQuotas({ plans }: Host): NonNullable<LimitOptions["plans"]> {
  return Object.fromEntries(
    Object.entries(plans).flatMap(([name, { quota }]) =>
      quota === undefined ? [] : [[name, toCount(quota)]],
    ),
  );
}
