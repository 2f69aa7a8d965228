/** Bounds how many requests, or connections, of a caller run at once, over all worker threads. */

import { z } from "zod";
import { FieldName } from "../proxy/http/fields.ts";
import { definePlugin, problem, reject, slot } from "../proxy/pipeline/plugin.ts";
import { addItem, quotaExceeded, retryAfter } from "./limit-fields.ts";
import { byOption, callerText, clientKey, toKeyOf } from "./limit-key.ts";
import { nameOption } from "./options.ts";
import type { Permit } from "../proxy/pipeline/plugin.ts";

const policyField = new FieldName("ratelimit-policy");
const limitField = new FieldName("ratelimit");

const config = z.strictObject({
  limit: z.int().min(1).max(1_000_000).default(10),
  by: byOption.default("consumer"),
  missing: z.enum(["client", "skip", "reject"]).default("client"),
  shadow: z.boolean().default(false),
  name: nameOption().default("concurrency"),
});

export default definePlugin({
  name: "concurrency",
  stage: "limit",
  modes: ["gateway", "mesh-outbound", "mesh-inbound"],
  protocols: ["http", "tcp"],
  perRoute: true,
  config,
  async setup({ limit, by, missing, shadow, name }, host) {
    const keyOf = await toKeyOf(by, host);
    const gate = host.gate({ id: `${host.route ?? ""}/${name}`, limit });
    const refused = host.counter("rate_limited", ["route", "policy"]);
    const label = shadow ? `${name} (shadow)` : name;
    const labels = [host.route ?? "", label];
    // null: it was refused
    const Held = slot<{ readonly permit: Permit | null }>(`concurrency.${host.id}`);
    const noKey = problem(
      "bad-request",
      400,
      `this request lacks what its limit ${name} counts by`,
    );

    return {
      request(req, ctx) {
        let key = keyOf(req, ctx);
        if (key === undefined) {
          if (missing === "skip") return undefined;
          if (missing === "reject") return shadow ? undefined : noKey;
          key = clientKey(ctx.client.address);
        }
        const permit = gate.enter(key);
        if (permit !== null || !shadow) ctx.set(Held, { permit });
        if (permit !== null) return undefined;
        refused.inc(labels);
        host.refused({ policy: label, caller: callerText(key), forMs: 1000 });
        if (shadow) return undefined;
        return problem(
          "rate-limited",
          429,
          `${limit} requests of this caller run already (policy ${name})`,
          { "retry-after": String(retryAfter(1000, host.random())), link: quotaExceeded },
          { "violated-policies": [name] },
        );
      },
      response(res, ctx) {
        const held = ctx.get(Held);
        if (held === undefined || shadow) return;
        addItem(res.headers, policyField, `"${name}";q=${limit};qu="concurrent-requests"`);
        addItem(res.headers, limitField, `"${name}";r=${held.permit?.remaining ?? 0}`);
      },
      done(_end, ctx) {
        ctx.get(Held)?.permit?.leave();
      },
      tcp: {
        accept(conn) {
          // a connection has no consumer, no header and no claim: its caller is the address
          if (by !== "client" && by !== "route" && missing === "skip") return undefined;
          const isCounted = by === "client" || by === "route" || missing === "client";
          const key = by === "route" ? "route" : clientKey(conn.client.address);
          const permit = isCounted ? gate.enter(key) : null;
          if (permit !== null) {
            conn.set(Held, { permit });
            return undefined;
          }
          refused.inc(labels);
          host.refused({ policy: label, caller: callerText(key), forMs: 1000 });
          if (shadow) return undefined;
          return reject(`${limit} connections of this caller are open already (policy ${name})`);
        },
        done(_info, conn) {
          conn.get(Held)?.permit?.leave();
        },
      },
    };
  },
});
