/** Refuses requests that do not say for which tenant they are. */

import { definePlugin, reply } from "weft/plugin";
import { z } from "zod";

export default definePlugin({
  name: "tenant",
  stage: "authn",
  modes: ["gateway", "mesh-inbound"],
  config: z.object({ header: z.string().default("x-tenant") }),
  setup(config, host) {
    const header = host.header(config.header);
    return {
      request(req) {
        if (req.headers.get(header) === undefined) return reply(401, "missing tenant");
        return undefined;
      },
    };
  },
});
