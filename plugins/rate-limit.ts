/** Limits how often a caller may ask: exact over the process, or over all replicas with Redis. */

import { z } from "zod";
import { definePlugin } from "../proxy/pipeline/plugin.ts";
import { type CostOption, costOption, toCost } from "./limit-cost.ts";
import { windowText } from "./limit-fields.ts";
import { limitHooks } from "./limit-hooks.ts";
import { byOption, toKeyOf } from "./limit-key.ts";
import { openLimits } from "./limit-store.ts";
import { nameOption, rateOption } from "./options.ts";

/** 100/min. */
const usualLimit = { limit: 100, windowMs: 60_000 };

const config = z
  .strictObject({
    limit: rateOption().optional(),
    plan: z.boolean().default(false),
    by: byOption.optional(),
    algorithm: z.enum(["gcra", "fixed-window", "sliding-window"]).default("gcra"),
    burst: z.int().min(1).optional(),
    cost: costOption.default(1),
    missing: z.enum(["client", "skip", "reject"]).default("client"),
    store: z.enum(["local", "redis"]).default("local"),
    onStoreError: z.enum(["local", "open", "closed"]).default("local"),
    replicas: z.int().min(1).default(1),
    shadow: z.boolean().default(false),
    name: nameOption(),
    xHeaders: z.boolean().default(false),
  })
  // with a plan there may be callers without a limit: only who asks for neither gets this one
  .transform((options) =>
    options.limit === undefined && !options.plan ? { ...options, limit: usualLimit } : options,
  )
  .refine(
    ({ limit, burst, cost }) =>
      typeof cost !== "number" || limit === undefined || cost <= (burst ?? limit.limit),
    "the cost of a request is above what may come at once",
  );

export default definePlugin({
  name: "rate-limit",
  stage: "limit",
  modes: ["gateway", "mesh-outbound", "mesh-inbound"],
  perRoute: true,
  config,
  async setup(options, host) {
    // plans belong to consumers
    const keyOf = await toKeyOf(options.by ?? (options.plan ? "consumer" : "client"), host);
    const cost = await toCost(options.cost);
    const plans = options.plan ? host.plans : null;
    const limits = await openLimits({ ...options, plans }, host);
    const { name, missing, onStoreError, shadow, xHeaders } = options;
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
        inWords: ({ spec }) =>
          `limit of ${spec.limit} ${unitOf(options.cost)} per ${windowText(spec.windowMs)}`,
        windowSeconds: ({ spec }) => Math.ceil(spec.windowMs / 1000),
      },
      host,
    );
  },
});

function unitOf(cost: CostOption): string {
  return typeof cost === "number" ? "requests" : "units";
}
