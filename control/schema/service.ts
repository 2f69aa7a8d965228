/** The schema of services: endpoints, TLS to them, health checks. */

import { z } from "zod";
import { policyUse } from "./policy.ts";
import {
  address,
  choice,
  duration,
  flag,
  hostPattern,
  name,
  notYet,
  refuse,
  show,
  text,
  whole,
} from "./scalars.ts";

const endpoint = z
  .union(
    [
      address(),
      z.strictObject({
        address: address(),
        weight: whole(0, 1_000_000)
          .default(1)
          .meta({ description: "Its share beside the others; 0: no new requests." }),
        zone: notYet(z.string()).meta({ description: "Where it stands." }),
        priority: notYet(z.int()).meta({
          description: "A higher number is used when the lower ones are down.",
        }),
      }),
    ],
    { error: "an address such as 127.0.0.1:3001, or { address, weight }" },
  )
  .transform((value) =>
    "text" in value
      ? { address: value, weight: 1 }
      : { address: value.address, weight: value.weight },
  );

const tls = z.strictObject({
  ca: text("the file of an authority (PEM)").optional().meta({
    description: "Who signs the endpoints’ certificates. Default: the system’s authorities.",
  }),
  serverName: hostPattern()
    .optional()
    .meta({ description: "The name asked for (SNI) and checked. Default: the endpoint’s host." }),
});

const healthPath = z.string({ error: "a path such as /healthz" }).superRefine((value, ctx) => {
  if (!/^\/[^\s#\p{Cc}]*$/u.test(value))
    refuse(ctx, `${show(value)} is not a path`, { expected: 'a path that begins with "/"' });
});

export const healthSchema = z.strictObject({
  path: healthPath.optional().meta({
    description:
      "Asked with GET; 200 to 399 is healthy. Default: /healthz. A tcp service has none: a connection is enough.",
  }),
  interval: duration({ minMs: 10 })
    .prefault("5s")
    .meta({ description: "Between checks of one endpoint." }),
  timeout: duration({ minMs: 1 }).prefault("1s").meta({ description: "Of one check." }),
  healthy: whole(1, 1000)
    .default(2)
    .meta({ description: "Successes in a row that bring it back." }),
  unhealthy: whole(1, 1000).default(3).meta({ description: "Failures in a row that take it out." }),
});

const service = z
  .strictObject({
    endpoints: z
      .array(endpoint, { error: "a list of addresses" })
      .optional()
      .meta({ description: "Addresses. An empty list answers 503." }),
    discover: notYet(z.string()).meta({
      description:
        "Where the endpoints are learned: dns:, srv:, registry:, etcd:, consul:, kubernetes:.",
    }),
    protocol: choice(["http1", "http2", "auto", "tcp"]).prefault("http1").meta({
      description:
        "Spoken to the endpoints; auto asks each one; tcp is for services of tcp and tls listeners.",
    }),
    tls: tls
      .optional()
      .meta({ description: "Speaks TLS to the endpoints; {} is enough for a public name." }),
    mtls: flag().optional().meta({
      description:
        "Speaks mTLS with this workload’s mesh identity. Default: true in a mesh, false in a gateway.",
    }),
    policy: policyUse.optional(),
    proxyProtocol: choice(["v1", "v2"]).optional().meta({
      description:
        "Begins each connection to a tcp service with a PROXY protocol header that says who the caller is. Default: none.",
    }),
    health: healthSchema.optional().meta({ description: "Asks each endpoint whether it is well." }),
  })
  .superRefine((value, ctx) => {
    if (value.endpoints === undefined)
      refuse(ctx, '"endpoints" is missing', {
        expected: "a list of addresses, such as [127.0.0.1:3001]",
        missing: true,
      });
    if (value.protocol !== "tcp" && value.proxyProtocol !== undefined)
      refuse(
        ctx,
        '"proxyProtocol" is for a tcp service: connections of HTTP are shared by callers, and x-forwarded-for names them',
        { expected: "protocol: tcp" },
        ["proxyProtocol"],
      );
    if (value.protocol === "tcp" && value.health?.path !== undefined)
      refuse(
        ctx,
        "a tcp service has no path to ask: a connection is enough",
        { expected: "no path" },
        ["health", "path"],
      );
    if (value.tls !== undefined && value.mtls === true)
      refuse(ctx, '"tls" cannot stand beside mtls: true', { expected: "one of them" }, ["tls"]);
    if (value.tls?.serverName?.startsWith("*.") === true)
      refuse(ctx, "a wildcard is not a name to ask for", { expected: "one host name" }, [
        "tls",
        "serverName",
      ]);
  });

export const servicesSchema = z
  .record(name("the name of a service"), service, { error: "a mapping of names to services" })
  .meta({ description: "Named sets of endpoints." });
