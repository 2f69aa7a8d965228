/** Shows the request id to the caller and, under a name of one's own, to the service; keeps a caller's id when told to. */

import { z } from "zod";
import { definePlugin } from "../proxy/pipeline/plugin.ts";
import { fieldNameOption } from "./options.ts";
import type { Ctx, RequestHead } from "../proxy/pipeline/plugin.ts";

/** An id that a caller may choose: it ends up in logs and headers, so it is short and plain. */
const plainId = /^[A-Za-z0-9._~+/=:@-]{1,128}$/;

export default definePlugin({
  name: "request-id",
  stage: "observe",
  modes: ["gateway", "mesh-outbound", "mesh-inbound"],
  config: z.strictObject({
    header: fieldNameOption().default("x-request-id"),
    trust: z.boolean().default(false),
  }),
  setup({ header, trust }, host) {
    const field = host.header(header);
    const isOwn = field.lower === "x-request-id";
    const take = (req: RequestHead, ctx: Ctx): void => {
      if (trust) {
        const given = req.headers.get(field);
        if (given !== undefined && plainId.test(given)) ctx.id = given;
      }
      // x-request-id is written by weft itself
      if (!isOwn) req.headers.set(field, ctx.id);
    };
    return {
      early: take,
      request: take,
      response(res, ctx) {
        res.headers.set(field, ctx.id);
      },
    };
  },
});
