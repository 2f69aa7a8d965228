/** The schema of a sidecar and of who may call whom. */

import { z } from "zod";
import {
  address,
  choice,
  isHostName,
  listenAddress,
  method,
  name,
  notYet,
  refuse,
  show,
  text,
} from "./scalars.ts";

const trustDomain = z
  .string({ error: "a trust domain such as weft.local" })
  .superRefine((value, ctx) => {
    if (!isHostName(value) || value !== value.toLowerCase())
      refuse(ctx, `${show(value)} is not a trust domain`, {
        expected: "a lower-case DNS name such as weft.local",
      });
  });

const identity = z.strictObject({
  cert: text("the file of a certificate").meta({
    description: "This workload’s certificate, with its SPIFFE name.",
  }),
  key: text("the file of a private key").meta({ description: "Its private key." }),
  bundle: text("the file of the authorities").meta({ description: "Who signs the peers." }),
});

export const meshSchema = z.strictObject({
  service: name("the name of this service").meta({
    description: "This workload; its identity is `spiffe://<trustDomain>/service/<service>`.",
  }),
  app: address().optional().meta({ description: "Where inbound requests go." }),
  outbound: listenAddress().optional().meta({
    description: "The app’s calls to services, by Host. In a mesh, default: 127.0.0.1:15001.",
  }),
  inbound: listenAddress().optional().meta({
    description: "The peers’ calls, mTLS. In a mesh with an app, default: 0.0.0.0:15006.",
  }),
  advertise: address().optional().meta({ description: "The inbound address as peers reach it." }),
  trustDomain: trustDomain.prefault("weft.local"),
  mtls: choice(["strict", "permissive"])
    .prefault("strict")
    .meta({ description: "permissive also takes plain text, for a move to the mesh." }),
  identity: identity
    .optional()
    .meta({ description: "Certificate files, reloaded when they change." }),
  ports: notYet(z.record(z.string(), z.string())).meta({
    description: "One outbound port per service.",
  }),
  control: notYet(z.string()).meta({ description: "Address of a control plane." }),
  token: notYet(z.string()).meta({ description: "A join token." }),
  state: notYet(z.string()).meta({
    description: "Folder of the own certificate and last snapshot.",
  }),
});

const spiffe = /^spiffe:\/\/[a-z0-9._-]+\/[A-Za-z0-9._/-]+$/;
const callerExpected = 'the name of a service, a spiffe:// name, or "*"';

const caller = z.string({ error: callerExpected }).superRefine((value, ctx) => {
  if (
    value === "*" ||
    spiffe.test(value) ||
    /^[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9_])?$/.test(value)
  )
    return;
  refuse(ctx, `${show(value)} is no caller`, { expected: callerExpected });
});

const pathPattern = z.string({ error: "a path such as /orders/*" }).superRefine((value, ctx) => {
  if (/^\/[^\s?#*\p{Cc}]*\*?$/u.test(value)) return;
  refuse(ctx, `${show(value)} is not a path pattern`, {
    expected: 'a path that begins with "/", with "*" only at its end',
  });
});

export const accessSchema = z.strictObject({
  default: choice(["deny", "allow"])
    .optional()
    .meta({ description: "What holds when no rule does. Default: deny in a mesh." }),
  rules: z
    .array(
      z.strictObject({
        to: name("the name of a service").meta({ description: "Whom is called." }),
        from: z
          .array(caller, { error: "a list of callers" })
          .min(1, { error: "at least one caller" })
          .meta({ description: "Who calls: services of this trust domain, or spiffe:// names." }),
        methods: z
          .array(method(), { error: "a list of methods" })
          .min(1, { error: "at least one method" })
          .optional()
          .meta({ description: "Default: every method." }),
        paths: z
          .array(pathPattern, { error: "a list of paths" })
          .min(1, { error: "at least one path" })
          .optional()
          .meta({
            description: "/orders/* matches below /orders/, not /orders. Default: every path.",
          }),
        action: choice(["allow", "deny", "shadow"])
          .prefault("allow")
          .meta({ description: "deny wins over allow; shadow only counts and logs." }),
      }),
      { error: "a list of rules" },
    )
    .default([]),
});
