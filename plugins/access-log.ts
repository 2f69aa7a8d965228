/** Writes an access line for the exchanges of the routes that have it. */

import { z } from "zod";
import { definePlugin } from "../proxy/pipeline/plugin.ts";
import { Logged, formatLine, isWanted } from "../proxy/observe/access-log.ts";
import { fieldNameOption } from "./options.ts";
import type { AccessLogOptions } from "../proxy/observe/access-log.ts";

export default definePlugin({
  name: "access-log",
  stage: "observe",
  modes: ["gateway", "mesh-outbound", "mesh-inbound"],
  onError: "open",
  config: z.strictObject({
    format: z.enum(["json", "text"]).default("json"),
    when: z.string().optional(),
    sample: z.number().min(0).max(1).default(1),
    fields: z.array(fieldNameOption()).default([]),
  }),
  async setup({ format, when, sample, fields }, host) {
    const condition =
      when === undefined
        ? null
        : (await import("../proxy/pipeline/expression.ts")).compileEndWhen(when);
    const options: AccessLogOptions = { format, when: condition, sample, fields };
    const random = (): number => host.random();
    return {
      done(info, ctx) {
        if (!isWanted(options, ctx, info, random)) return;
        ctx.set(Logged, true);
        host.print(formatLine(options, ctx, info, host.wallNow()));
      },
    };
  },
});
