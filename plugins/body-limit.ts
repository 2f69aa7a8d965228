/** Refuses request bodies over a size, by their announced length at once, else as soon as they grow over it. */

import { z } from "zod";
import { definePlugin, problem, slot } from "../proxy/pipeline/plugin.ts";
import { sizeOption } from "./options.ts";
import type { Reply, StreamHook } from "../proxy/pipeline/plugin.ts";

const Seen = slot<{ bytes: number }>("body-limit.seen");

export default definePlugin({
  name: "body-limit",
  stage: "admit",
  modes: ["gateway", "mesh-outbound", "mesh-inbound"],
  config: z.strictObject({ bytes: sizeOption().default(1024 ** 2) }),
  // an announced length is enforced by the parser: only bodies of unknown length are counted
  body: { request: { when: (req) => req.contentLength === -1 } },
  setup({ bytes }) {
    const refuse = (): Reply =>
      problem("body-too-large", 413, `the request body is over the limit of ${bytes} bytes`);
    return {
      request(req) {
        return req.contentLength > bytes ? refuse() : undefined;
      },
      requestBody: ((chunk, ctx) => {
        let seen = ctx.get(Seen);
        if (seen === undefined) ctx.set(Seen, (seen = { bytes: 0 }));
        seen.bytes += chunk.length;
        return seen.bytes > bytes ? refuse() : undefined;
      }) satisfies StreamHook,
    };
  },
});
