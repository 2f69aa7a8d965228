/** Lets consumers in, or keeps them out, by their groups. */

import { z } from "zod";
import { definePlugin, problem } from "../proxy/pipeline/plugin.ts";

export default definePlugin({
  name: "acl",
  stage: "authz",
  modes: ["gateway", "mesh-inbound"],
  config: z
    .strictObject({ allow: z.array(z.string()).default([]), deny: z.array(z.string()).default([]) })
    .refine(
      ({ allow, deny }) => allow.length + deny.length > 0,
      "acl needs groups to allow or to deny",
    ),
  setup({ allow, deny }, host) {
    const allowed = new Set(allow);
    const denied = new Set(deny);
    const refused = problem(
      "forbidden",
      403,
      `the caller's groups do not allow this (plugin ${host.id})`,
    );
    return {
      request(_req, ctx) {
        const groups = ctx.consumer?.groups ?? [];
        if (groups.some((group) => denied.has(group))) return refused;
        if (allowed.size > 0 && !groups.some((group) => allowed.has(group))) return refused;
        return undefined;
      },
    };
  },
});
