/** Keeps the number of requests in flight below what the service can take, learning it from its answers. */

import { definePlugin, reply, slot } from "weft/plugin";
import { z } from "zod";

const Held = slot<true>("shed.held");

export default definePlugin({
  name: "shed",
  stage: "admit",
  onError: "open",
  config: z.strictObject({ max: z.int().positive(), goodMs: z.number().default(200) }),
  setup({ max, goodMs }, host) {
    let inFlight = 0;
    let limit = max;
    const shed = host.counter("shed");
    return {
      request(_req, ctx) {
        if (inFlight >= limit) {
          shed.inc();
          return reply(503, "too many requests in flight", { "retry-after": "1" });
        }
        inFlight++;
        ctx.set(Held, true);
        return undefined;
      },
      attemptResult(outcome) {
        const isGood = outcome.ok && outcome.durationMs < goodMs;
        limit = Math.max(1, Math.min(max, isGood ? limit + 1 / limit : limit * 0.9));
      },
      // runs exactly once, whatever the end: what was taken is always given back
      done(_info, ctx) {
        if (ctx.get(Held) === true) inFlight--;
      },
    };
  },
});
