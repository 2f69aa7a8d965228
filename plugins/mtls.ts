/** Knows callers by their client certificate, which the listener has verified: a name in it is a consumer's. */

import { z } from "zod";
import { definePlugin, problem } from "../proxy/pipeline/plugin.ts";
import { identify } from "./identify.ts";
import type { Consumer, TlsInfo } from "../proxy/pipeline/plugin.ts";

type Certificate = NonNullable<TlsInfo["clientCertificate"]>;

/** Certificates whose consumer is remembered, by fingerprint. */
const memoryMax = 4096;
const nameKinds = ["uri", "dns", "subject", "cn"] as const;

export default definePlugin({
  name: "mtls",
  stage: "authn",
  modes: ["gateway", "mesh-inbound"],
  config: z.strictObject({
    by: z
      .array(z.enum(nameKinds))
      .min(1)
      .default([...nameKinds]),
    names: z.record(z.string(), z.string()).default({}),
    optional: z.boolean().default(false),
  }),
  setup({ by, names, optional }, host) {
    const { consumers } = host;
    for (const [name, consumer] of Object.entries(names)) {
      if (consumers.byName(consumer) === undefined)
        throw new Error(`names[${JSON.stringify(name)}]: there is no consumer ${consumer}`);
    }
    const known = host.local<Consumer | "nobody">("certificates", { max: memoryMax });
    const challenge = { "www-authenticate": 'ClientCertificate realm="weft"' };
    const missing = problem("unauthenticated", 401, "a client certificate is needed", challenge);
    const unknown = problem(
      "unauthenticated",
      401,
      "the client certificate is no consumer's",
      challenge,
    );
    const find = (certificate: Certificate): Consumer | "nobody" => {
      for (const name of namesOf(certificate, by)) {
        const consumer = consumers.byName(Object.hasOwn(names, name) ? names[name]! : name);
        if (consumer !== undefined) return consumer;
      }
      return "nobody";
    };

    return {
      request(req, ctx) {
        const certificate = ctx.client.tls?.clientCertificate ?? null;
        if (certificate === null) return optional ? undefined : missing;
        let consumer = known.get(certificate.fingerprint256);
        if (consumer === undefined) {
          consumer = find(certificate);
          known.set(certificate.fingerprint256, consumer);
        }
        if (consumer === "nobody") return unknown;
        identify(req, ctx, consumer);
        return undefined;
      },
    };
  },
});

/** The names of a certificate that may stand for a consumer, in the order asked for. */
function* namesOf(
  { uris, dnsNames, subject }: Certificate,
  by: readonly (typeof nameKinds)[number][],
): Iterable<string> {
  for (const kind of by) {
    if (kind === "uri") yield* uris;
    else if (kind === "dns") yield* dnsNames;
    else if (kind === "subject") yield subject;
    else yield* commonNames(subject);
  }
}

/** Of a subject such as `C=DE, O=Acme, CN=alice`; a CN with an escaped comma in it is left alone: it must be named by its subject. */
function commonNames(subject: string): string[] {
  if (/[\\"]/.test(subject)) return [];
  const names = subject
    .split(/[,\n+]/)
    .map((part) => /^\s*CN\s*=\s*(.+?)\s*$/.exec(part)?.[1])
    .filter((name) => name !== undefined);
  return names.length === 1 ? names : [];
}
