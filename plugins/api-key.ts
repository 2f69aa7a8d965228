/** Knows callers by a key: in a header, the query or a cookie. Keys are stored as SHA-256 only. */

import { z } from "zod";
import { definePlugin, problem } from "../proxy/pipeline/plugin.ts";
import { identify, readCookie, readQuery, removeCookie, removeQuery } from "./identify.ts";
import { fieldNameOption } from "./options.ts";
import type { Reply, RequestHead } from "../proxy/pipeline/plugin.ts";

/** A longer key is none of ours: it is not hashed. */
const maxKeyChars = 4096;

export default definePlugin({
  name: "api-key",
  stage: "authn",
  modes: ["gateway", "mesh-inbound"],
  config: z.strictObject({
    header: fieldNameOption().default("x-api-key"),
    query: z.string().min(1).optional(),
    cookie: fieldNameOption().optional(),
    optional: z.boolean().default(false),
    hide: z.boolean().default(true),
  }),
  setup({ header, query, cookie, optional, hide }, host) {
    const field = host.header(header);
    const { consumers } = host;
    const places = [
      `header ${field.lower}`,
      ...(query === undefined ? [] : [`query parameter ${query}`]),
      ...(cookie === undefined ? [] : [`cookie ${cookie}`]),
    ];
    const refuse = (detail: string): Reply =>
      problem("unauthenticated", 401, detail, {
        "www-authenticate": `ApiKey realm="weft", in="${places.join(", ")}"`,
      });
    const missing = refuse(`an API key is needed: ${places.join(" or ")}`);
    const unknown = refuse("the API key is not known");

    const read = (req: RequestHead): string | undefined => {
      const given = req.headers.get(field);
      if (given !== undefined)
        return field.lower === "authorization" ? given.replace(/^[A-Za-z-]+\s+/, "") : given;
      if (query !== undefined) {
        const key = readQuery(req, query);
        if (key !== undefined) return key;
      }
      return cookie === undefined ? undefined : readCookie(req, cookie);
    };
    const hideAll = (req: RequestHead): void => {
      req.headers.delete(field);
      if (query !== undefined) removeQuery(req, query);
      if (cookie !== undefined) removeCookie(req, cookie);
    };

    return {
      request(req, ctx) {
        const key = read(req);
        if (key === undefined || key === "") return optional ? undefined : missing;
        if (key.length > maxKeyChars) return unknown;
        const consumer = consumers.byKey(key);
        if (consumer === undefined) return unknown;
        identify(req, ctx, consumer);
        if (hide) hideAll(req);
        return undefined;
      },
    };
  },
});
