/** Answers preflight requests and says which origins may read an answer (Fetch standard, section 3.2). */

import { z } from "zod";
import { definePlugin, reply } from "../proxy/pipeline/plugin.ts";
import { durationOption, fieldNameOption } from "./options.ts";
import { originMatcher, originOption } from "./origins.ts";
import { addVary } from "./vary.ts";

export default definePlugin({
  name: "cors",
  stage: "admit",
  modes: ["gateway", "mesh-inbound"],
  config: z.strictObject({
    origins: z.array(originOption()).min(1).default(["*"]),
    methods: z.array(fieldNameOption()).default(["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"]),
    headers: z.array(z.union([fieldNameOption(), z.literal("*")])).optional(),
    expose: z.array(z.union([fieldNameOption(), z.literal("*")])).default([]),
    credentials: z.boolean().default(false),
    maxAge: durationOption().default(3_600_000),
  }),
  setup(config) {
    const isAny = config.origins.includes("*");
    const matches = originMatcher(config.origins);
    const methods = config.methods.join(", ");
    const allowHeaders = config.headers?.join(", ");
    const expose = config.expose.join(", ");
    const maxAge = String(Math.floor(config.maxAge / 1000));
    const isConstant = isAny && !config.credentials;

    return {
      request(req) {
        if (req.method !== "OPTIONS") return undefined;
        const from = req.headers.get("origin");
        if (from === undefined || !req.headers.has("access-control-request-method"))
          return undefined;
        const headers: Record<string, string> = {
          vary: "Access-Control-Request-Method, Access-Control-Request-Headers",
        };
        if (isAny || matches(from)) {
          headers["access-control-allow-methods"] = methods;
          const asked = req.headers.get("access-control-request-headers");
          const allowed = allowHeaders ?? asked;
          if (allowed !== undefined && allowed !== "")
            headers["access-control-allow-headers"] = allowed;
          headers["access-control-max-age"] = maxAge;
        }
        return reply(204, headers);
      },
      // the answers of later plugins pass here too: a page can read its 401
      response(res, ctx) {
        const { headers } = res;
        if (!isConstant) addVary(headers, "Origin");
        const from = ctx.req.headers.get("origin");
        headers.delete("access-control-allow-origin");
        headers.delete("access-control-allow-credentials");
        if (from === undefined || !(isAny || matches(from))) return;
        headers.set("access-control-allow-origin", isConstant ? "*" : from);
        if (config.credentials) headers.set("access-control-allow-credentials", "true");
        if (expose !== "") headers.set("access-control-expose-headers", expose);
      },
    };
  },
});
