/** Takes fields out of JSON answers, unless the caller belongs to the staff. */

import { definePlugin } from "weft/plugin";
import type { BufferHook } from "weft/plugin";
import { z } from "zod";

export default definePlugin({
  name: "redact",
  stage: "transform",
  config: z.strictObject({ fields: z.array(z.string()).min(1) }),
  body: {
    response: {
      buffer: "256KiB",
      when: (res, ctx) =>
        ctx.consumer?.groups.includes("staff") !== true &&
        res.headers.get("content-type")?.startsWith("application/json") === true,
    },
  },
  setup: ({ fields }) => ({
    responseBody: ((body) => {
      const value = body.json();
      if (typeof value !== "object" || value === null) return;
      for (const field of fields) Reflect.deleteProperty(value, field);
      body.setJson(value);
    }) satisfies BufferHook,
  }),
});
