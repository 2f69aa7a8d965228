/** Refuses changes that another site's page makes in a visitor's name. */

import { z } from "zod";
import { definePlugin, problem } from "../proxy/pipeline/plugin.ts";
import { originMatcher, originOption } from "./origins.ts";
import type { RequestHead } from "../proxy/pipeline/plugin.ts";

export default definePlugin({
  name: "csrf",
  stage: "admit",
  modes: ["gateway", "mesh-inbound"],
  config: z.strictObject({
    origins: z
      .array(originOption().refine((one) => one !== "*" && one !== "null", "name the sites"))
      .default([]),
    safeMethods: z.array(z.string()).default(["GET", "HEAD", "OPTIONS", "TRACE"]),
    sameSite: z.boolean().default(false),
    missing: z.enum(["allow", "reject"]).default("allow"),
  }),
  setup({ origins, safeMethods, sameSite, missing }, host) {
    const safe = new Set(safeMethods.map((method) => method.toUpperCase()));
    const isTrusted = originMatcher(origins);
    const refused = problem(
      "forbidden",
      403,
      `the request comes from a page of another site (plugin ${host.id})`,
    );
    const unnamed = problem(
      "forbidden",
      403,
      `the request does not say which page it comes from (plugin ${host.id})`,
    );
    return {
      request(req) {
        if (safe.has(req.method)) return undefined;
        const { headers } = req;
        const origin = headers.get("origin");
        switch (headers.get("sec-fetch-site")) {
          // only a browser sends it, and no page can: it knows best
          case "same-origin":
          case "none":
            return undefined;
          case "same-site":
            if (sameSite) return undefined;
            return origin !== undefined && isTrusted(origin) ? undefined : refused;
          case undefined:
            break;
          default:
            return origin !== undefined && isTrusted(origin) ? undefined : refused;
        }
        const from = origin ?? originOf(headers.get("referer"));
        // no browser leaves both out of an unsafe request: this is a program, and it has no visitor's cookies
        if (from === undefined) return missing === "allow" ? undefined : unnamed;
        return isOwn(from, req) || isTrusted(from) ? undefined : refused;
      },
    };
  },
});

/** The scheme is not compared: in front of weft something else may speak TLS. */
function isOwn(origin: string, req: RequestHead): boolean {
  const url = URL.canParse(origin) ? new URL(origin) : null;
  if (url === null || url.host === "") return false;
  return url.host === withoutDefaultPort(req.authority, url.protocol);
}

function withoutDefaultPort(authority: string, protocol: string): string {
  const port = protocol === "https:" ? ":443" : ":80";
  return authority.endsWith(port) ? authority.slice(0, -port.length) : authority;
}

/** The origin of a page's address; an unreadable one is the origin that nobody trusts. */
function originOf(referer: string | undefined): string | undefined {
  if (referer === undefined || referer === "") return undefined;
  return URL.canParse(referer) ? new URL(referer).origin : "null";
}
