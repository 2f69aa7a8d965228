/** Sets the response fields by which browsers protect visitors; each field is an option. */

import { z } from "zod";
import { definePlugin } from "../proxy/pipeline/plugin.ts";
import { fieldValueOption, writableNameOption } from "./options.ts";
import type { FieldName } from "../proxy/pipeline/plugin.ts";

/** A text is sent, `false` is not; without an option the default fills in what the service does not say. */
const field = z.union([fieldValueOption().min(1), z.literal(false)]).optional();

const defaults: Readonly<Record<string, string | null>> = {
  "content-security-policy": "base-uri 'self'; frame-ancestors 'self'; object-src 'none'",
  "content-security-policy-report-only": null,
  "cross-origin-embedder-policy": null,
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "origin-agent-cluster": "?1",
  "permissions-policy": null,
  "referrer-policy": "strict-origin-when-cross-origin",
  "strict-transport-security": "max-age=31536000; includeSubDomains",
  "x-content-type-options": "nosniff",
  "x-dns-prefetch-control": "off",
  "x-download-options": "noopen",
  "x-frame-options": "SAMEORIGIN",
  "x-permitted-cross-domain-policies": "none",
  "x-xss-protection": "0",
};

/** `xFrameOptions` is the same as `x-frame-options`. */
function withFieldNames(options: unknown): unknown {
  if (typeof options !== "object" || options === null || Array.isArray(options)) return options;
  return Object.fromEntries(
    Object.entries(options).map(([name, value]) => [
      name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`),
      value,
    ]),
  );
}

const shape = Object.fromEntries(Object.keys(defaults).map((name) => [name, field]));

export default definePlugin({
  name: "security-headers",
  stage: "admit",
  modes: ["gateway", "mesh-inbound"],
  // their refusals are to have the fields too
  before: ["cors", "csrf", "bot", "ip-filter", "body-limit"],
  config: z.preprocess(
    withFieldNames,
    z.strictObject({
      ...shape,
      remove: z.array(writableNameOption()).default(["x-powered-by"]),
    }),
  ),
  setup({ remove, ...fields }, host) {
    const removed = remove.map((name) => host.header(name));
    const forced: [FieldName, string][] = [];
    const filled: [FieldName, string][] = [];
    for (const [name, byDefault] of Object.entries(defaults)) {
      const given = (fields as Record<string, string | false | undefined>)[name];
      const value = given ?? byDefault;
      if (typeof value === "string")
        (given === undefined ? filled : forced).push([host.header(name), value]);
    }
    return {
      response({ headers }, ctx) {
        // RFC 6797 section 7.2: not over plain HTTP
        const isPlain = ctx.req.scheme !== "https";
        for (const name of removed) headers.delete(name);
        for (const [name, value] of forced) headers.set(name, value);
        for (const [name, value] of filled) {
          if (isPlain && name.lower === "strict-transport-security") continue;
          if (!headers.has(name)) headers.set(name, value);
        }
      },
    };
  },
});
