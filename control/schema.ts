/** The whole configuration's schema: the one source of types, validation, the JSON Schema and docs/configuration.md. */

import { z } from "zod";
import { isStoredKey } from "../plugins/stored-key.ts";
import { gatewaySchema } from "./schema/gateway.ts";
import { accessSchema, meshSchema } from "./schema/mesh.ts";
import { policiesSchema } from "./schema/policy.ts";
import { pluginsSchema, routeSchema } from "./schema/route.ts";
import {
  choice,
  duration,
  listenAddress,
  name,
  notYet,
  number,
  quota,
  rate,
  refuse,
  text,
  whole,
} from "./schema/scalars.ts";
import { servicesSchema } from "./schema/service.ts";

const consumer = z.strictObject({
  name: name("a name").meta({ description: "What logs, limits and the upstream call it." }),
  keys: z
    .array(
      z.string({ error: "a hash such as sha256:..." }).superRefine((value, ctx) => {
        if (isStoredKey(value)) return;
        const suggestion = "make one with: weft key create --consumer NAME";
        refuse(ctx, "this is not the hash of a key", {
          expected: '"sha256:" and 64 hexadecimal digits in lower case',
          suggestion,
        });
      }),
      { error: "a list of hashes" },
    )
    .default([])
    .meta({
      description:
        "Hashes of its API keys, as `weft key create` prints them, or of its passwords (`$scrypt$...`, `$argon2id$...`); for http-signature its public keys (PEM) and secrets (`hmac:...`). Several: all hold, so that one can take the place of another.",
    }),
  plan: name("the name of a plan").optional().meta({ description: "A name from `plans:`." }),
  groups: z
    .array(text("the name of a group"), { error: "a list of groups" })
    .default([])
    .meta({ description: "For acl." }),
});

function refuseOtherThanRedis(value: string, ctx: z.core.$RefinementCtx): void {
  const url = URL.canParse(value) ? new URL(value) : null;
  if (
    url === null ||
    (url.protocol !== "redis:" && url.protocol !== "rediss:") ||
    url.hostname === ""
  ) {
    refuse(ctx, "this is not the URL of a Redis", {
      expected: "redis://host:6379 or rediss://host:6379",
    });
  }
}

const redisUrl = z
  .string({ error: "a URL such as redis://127.0.0.1:6379" })
  .superRefine(refuseOtherThanRedis);

const redisCluster = z
  .array(
    z
      .string({ error: "an address such as 127.0.0.1:6379" })
      .superRefine((value, ctx) =>
        refuseOtherThanRedis(value.includes("://") ? value : `redis://${value}`, ctx),
      ),
    { error: "a list of addresses" },
  )
  .min(1, "at least one node of the cluster");

const accessLog = z
  .union(
    [
      z.boolean(),
      z.strictObject({
        format: choice(["json", "text"]).prefault("json"),
        when: text("an expression such as status >= 400")
          .optional()
          .meta({ description: "CEL; a line is written when it is true." }),
        sample: number(0, 1)
          .default(1)
          .meta({ description: "The share of exchanges that is written." }),
      }),
    ],
    { error: "true, false or a mapping such as { format: json }" },
  )
  .meta({
    description:
      "A line an exchange on stdout. Default: off, but what weft itself answers with 5xx is always logged.",
  });

export const configSchema = z.strictObject({
  $schema: z.string().optional().meta({ description: "For editors." }),
  gateway: gatewaySchema.optional().meta({ description: "The edge: what `weft gateway` serves." }),
  mesh: meshSchema
    .optional()
    .meta({ description: "The sidecar: what `weft mesh` serves, or a gateway’s identity." }),
  services: servicesSchema.default({}),
  routes: z
    .array(routeSchema, { error: "a list of routes" })
    .default([])
    .meta({ description: "Which request goes where, in the Gateway API’s order." }),
  plugins: pluginsSchema.default([]).meta({ description: "On every route, before its own." }),
  policies: policiesSchema.default({}),
  consumers: z
    .array(consumer, { error: "a list of consumers" })
    .default([])
    .meta({ description: "Who API keys and tokens stand for." }),
  plans: z
    .record(
      name("the name of a plan"),
      z.strictObject({
        limit: rate().meta({ description: "For `rate-limit` with `plan: true`." }),
        quota: quota().optional().meta({ description: "For `quota` with `plan: true`." }),
      }),
      {
        error: "a mapping of names to plans",
      },
    )
    .default({})
    .meta({ description: "Limits by name, for consumers." }),
  stores: z
    .strictObject({
      redis: z
        .union([redisUrl, z.strictObject({ cluster: redisCluster })], {
          error: "a URL such as redis://127.0.0.1:6379, or { cluster: [127.0.0.1:7001, ...] }",
        })
        .optional()
        .meta({
          description:
            "Redis or Valkey, for limits over several proxies: a URL (rediss:// for TLS), or `{ cluster: [..] }` with some of its nodes.",
        }),
      cluster: redisCluster
        .optional()
        .meta({ description: "Nodes of a Redis cluster: the same as `redis: { cluster: [..] }`." }),
    })
    .prefault({})
    .meta({ description: "State that outgrows one machine." }),
  access: accessSchema.optional().meta({
    description: "Who may call whom; checked by the callee’s sidecar on the verified peer.",
  }),
  admin: z
    .strictObject({
      address: listenAddress().optional().meta({ description: "Default: 127.0.0.1:9901." }),
      token: text("a token").optional().meta({ description: "Required off loopback." }),
    })
    .optional()
    .meta({ description: "The admin API and the dashboard." }),
  observe: z
    .strictObject({
      accessLog: accessLog.default(false),
      tracing: notYet(z.strictObject({ otlp: z.string(), sample: z.number().optional() })).meta({
        description: "Traces by OTLP.",
      }),
    })
    .prefault({}),
  drainTimeout: duration()
    .prefault("30s")
    .meta({ description: "How long what is running may go on after SIGTERM." }),
  workers: z
    .union([z.literal("auto"), whole(1, 256)], { error: "auto, or a whole number from 1 to 256" })
    .prefault("auto")
    .meta({ description: "Threads that serve; auto is one a core." }),
  control: notYet(
    z.strictObject({
      port: z.int(),
      store: z.string().optional(),
      trustDomain: z.string().optional(),
      certificateTtl: z.string().optional(),
    }),
  ).meta({ description: "What `weft control` serves." }),
});

/** What a person writes. */
export type ConfigInput = z.input<typeof configSchema>;
/** What the schema makes of it: units are numbers, defaults are filled in, names still names. */
export type ParsedConfig = z.output<typeof configSchema>;
