/** The schema of the edge: listeners, TLS, limits. */

import { z } from "zod";
import {
  choice,
  duration,
  flag,
  hostPattern,
  name,
  notYet,
  size,
  text,
  whole,
  refuse,
  isHostName,
} from "./scalars.ts";
import { isIP } from "node:net";
import { pluginsSchema } from "./route.ts";

const file = (what: string) => text(`the file of ${what}`);

const tls = z.strictObject({
  certificates: z
    .array(
      z.strictObject({
        cert: file("a certificate chain (PEM)").meta({ description: "PEM, leaf first." }),
        key: file("a private key (PEM)").meta({ description: "PEM." }),
      }),
      { error: "a list such as [{ cert: api.crt, key: api.key }]" },
    )
    .min(1, { error: "at least one certificate" })
    .meta({
      description: "Chosen by SNI; the first one is the default. Reloaded when the files change.",
    }),
  clientAuth: z
    .strictObject({
      ca: file("the authorities of the clients (PEM)").meta({
        description: "Who may sign client certificates.",
      }),
      mode: choice(["require", "optional"]).prefault("require"),
    })
    .optional()
    .meta({ description: "Asks for client certificates." }),
});

const host = z.string({ error: "an IP address or a host name" }).superRefine((value, ctx) => {
  if (isIP(value) === 0 && (!isHostName(value) || /^[\d.]+$/.test(value)))
    refuse(ctx, `"${value}" is not an address to listen on`, {
      expected: "an IP address or a host name",
    });
});

const listener = z
  .strictObject({
    name: name("a name")
      .optional()
      .meta({ description: "In logs and metrics. Default: `port-<port>`." }),
    host: host.optional().meta({ description: "Default: every address, IPv6 and IPv4." }),
    port: whole(0, 65535).meta({ description: "0 takes a free one." }),
    protocol: choice(["http", "tcp", "tls", "auto"]).prefault("http").meta({
      description:
        "http; tcp passes connections to one service; tls passes them on unopened, by their server name; auto tells HTTP, TLS and the rest apart by their first bytes.",
    }),
    tls: tls.optional().meta({ description: "Terminates TLS here." }),
    proxyProtocol: flag()
      .default(false)
      .meta({ description: "Each connection must begin with a PROXY protocol header (v1 or v2)." }),
    to: name("a service").optional().meta({
      description:
        "The service of a tcp listener; of an auto listener, for what is neither HTTP nor named in `sni`.",
    }),
    sni: z.record(hostPattern(), name("a service")).optional().meta({
      description: "The services of a tls or auto listener, by server name: exact or `*.suffix`.",
    }),
    plugins: pluginsSchema.default([]).meta({
      description:
        "Plugins for the connections of a tcp, tls or auto listener: `ip-filter`, `concurrency`, or one made with defineTcpPlugin.",
    }),
  })
  .superRefine((value, ctx) => {
    if (value.protocol === "tcp" && value.to === undefined)
      refuse(ctx, '"to" is missing', { expected: "the name of a service", missing: true });
    if (value.protocol === "tls" && value.sni === undefined)
      refuse(ctx, '"sni" is missing', {
        expected: 'services by server name, such as { "a.example.com": a }',
        missing: true,
      });
    if (value.protocol === "tls" && value.tls !== undefined)
      refuse(
        ctx,
        '"tls" cannot stand on a listener that passes TLS through',
        {
          expected: "protocol: tcp to end TLS here",
        },
        ["tls"],
      );
    const { protocol } = value;
    if (protocol === "http" && value.to !== undefined)
      refuse(ctx, '"to" is for a tcp listener; here routes decide', { expected: "protocol: tcp" }, [
        "to",
      ]);
    if (protocol === "tls" && value.to !== undefined)
      refuse(ctx, '"to" is for a tcp listener; here server names decide', {}, ["to"]);
    if (protocol !== "tls" && protocol !== "auto" && value.sni !== undefined)
      refuse(ctx, '"sni" is for a tls listener', { expected: "protocol: tls" }, ["sni"]);
    if (protocol === "http" && value.plugins.length > 0)
      refuse(
        ctx,
        '"plugins" of an http listener stand on its routes',
        { expected: "the global list `plugins`, or that of a route" },
        ["plugins"],
      );
  });

const limits = z.strictObject({
  connections: whole(1, 10_000_000)
    .default(10_000)
    .meta({ description: "Open connections over all listeners." }),
  headerBytes: size({ min: 1024, max: 1024 * 1024 })
    .prefault("60KiB")
    .meta({ description: "The head of a request; more is 431." }),
  headerCount: whole(10, 10_000).default(100).meta({ description: "Header fields; more is 431." }),
  headerTimeout: duration({ minMs: 1 })
    .prefault("10s")
    .meta({ description: "A whole head must have come by then." }),
  idleTimeout: duration({ minMs: 1 })
    .prefault("75s")
    .meta({ description: "A connection without a request is closed after this." }),
});

export const gatewaySchema = z.strictObject({
  listeners: z
    .array(listener, { error: "a list of listeners" })
    .min(1, { error: "at least one listener, such as { port: 8080 }" })
    .meta({ description: "Where requests come in." }),
  trustedHops: whole(0, 100)
    .default(0)
    .meta({ description: "How many proxies in front are believed (X-Forwarded-*, Forwarded)." }),
  zone: notYet(z.string()).meta({ description: "Where this proxy stands." }),
  limits: limits.prefault({}).meta({ description: "Bounds on what strangers may do." }),
});
