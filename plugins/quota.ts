/** Bounds what a caller may use in a day or a calendar month, counted in the store so that a restart forgets nothing. */

import { z } from "zod";
import { definePlugin } from "../proxy/pipeline/plugin.ts";
import { costOption, toCost } from "./limit-cost.ts";
import { limitHooks } from "./limit-hooks.ts";
import { byOption, toKeyOf } from "./limit-key.ts";
import { openLimits } from "./limit-store.ts";
import { nameOption } from "./options.ts";

const dayMs = 86_400_000;

const quotaOption = z.string().transform((value, issues) => {
  const parts = /^(\d+)\s*\/\s*(day|month)$/.exec(value);
  const limit = Number(parts?.[1] ?? 0);
  if (parts === null || limit < 1 || !Number.isSafeInteger(limit)) {
    issues.addIssue(
      `${JSON.stringify(value)} is not a quota such as "10000/day" or "1000000/month"`,
    );
    return { limit: 1, per: "day" as const };
  }
  return { limit, per: parts[2] as "day" | "month" };
});

const config = z.strictObject({
  limit: quotaOption.default({ limit: 10_000, per: "day" }),
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
    const { limit, per } = options.limit;
    const { name, missing, onStoreError, shadow, xHeaders } = options;
    const keyOf = await toKeyOf(options.by, host);
    const cost = await toCost(options.cost);
    const store = options.store ?? (host.stores.redis === null ? "local" : "redis");
    const limits = await openLimits(
      {
        // kept a little longer than its period: the key names it
        limit: { limit, windowMs: per === "day" ? 2 * dayMs : 32 * dayMs },
        plan: false,
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
        inWords: () => `quota of ${limit} per ${per}`,
        period: () => periodOf(per, host.wallNow()),
        windowSeconds: () => (per === "day" ? dayMs : periodLengthMs(host.wallNow())) / 1000,
      },
      host,
    );
  },
});

/** The day or month, in UTC, and the time left of it. */
export function periodOf(
  per: "day" | "month",
  wallMs: number,
): { readonly name: string; readonly endsInMs: number } {
  const at = new Date(wallMs);
  const text = at.toISOString();
  const end =
    per === "day"
      ? Date.UTC(at.getUTCFullYear(), at.getUTCMonth(), at.getUTCDate() + 1)
      : Date.UTC(at.getUTCFullYear(), at.getUTCMonth() + 1, 1);
  return {
    name: text.slice(0, per === "day" ? 10 : 7),
    endsInMs: Math.max(1, Math.ceil(end - wallMs)),
  };
}

function periodLengthMs(wallMs: number): number {
  const at = new Date(wallMs);
  const start = Date.UTC(at.getUTCFullYear(), at.getUTCMonth(), 1);
  return Date.UTC(at.getUTCFullYear(), at.getUTCMonth() + 1, 1) - start;
}
