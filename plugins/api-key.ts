/** Knows callers by a key: in a header, the query or a cookie. Keys are stored as hashes only. */

import { z } from "zod";
import { definePlugin, problem } from "../proxy/pipeline/plugin.ts";
import { identify, readCookie, readQuery, removeCookie, removeQuery } from "./identify.ts";
import { isWellFormed } from "./key-format.ts";
import { fieldNameOption } from "./options.ts";
import { readStoredHash } from "./secret-hash.ts";
import { inTurn } from "./slow-checks.ts";
import { VerifiedSecrets } from "./verified-secrets.ts";
import type { StoredHash } from "./secret-hash.ts";
import type { Consumer, Consumers, Ctx, Reply, RequestHead } from "../proxy/pipeline/plugin.ts";

/** A longer key is none of ours: it is not hashed. */
const maxKeyChars = 4096;
/** Keys found by a slow hash are remembered; unknown ones for a shorter time. */
const memory = { max: 4096, ttlMs: 300_000 };
const strangers = { max: 4096, ttlMs: 10_000 };

const prefix = z
  .string()
  .regex(/^[A-Za-z][A-Za-z0-9-]{0,31}$/, "not a prefix of `weft key create`");

export default definePlugin({
  name: "api-key",
  stage: "authn",
  modes: ["gateway", "mesh-inbound"],
  // slow hashes wait for each other
  timeout: "30s",
  config: z.strictObject({
    header: fieldNameOption().default("x-api-key"),
    query: z.string().min(1).optional(),
    cookie: fieldNameOption().optional(),
    prefix: z.union([prefix, z.array(prefix).min(1)]).optional(),
    optional: z.boolean().default(false),
    hide: z.boolean().default(true),
  }),
  setup(options, host) {
    const { query, cookie, optional, hide } = options;
    const prefixes = options.prefix === undefined ? null : [options.prefix].flat();
    const field = host.header(options.header);
    const { consumers } = host;
    const slow = readSlow(consumers);
    const known = new VerifiedSecrets<Consumer>(host, memory);
    const unknowns = new VerifiedSecrets<true>(host, strangers);
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
    const malformed = refuse("the API key is mistyped: its prefix or its checksum is wrong");
    const busy = problem("overloaded", 503, "too many API keys are being checked", {
      "retry-after": "1",
    });

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
    const accept = (req: RequestHead, ctx: Ctx, consumer: Consumer): undefined => {
      identify(req, ctx, consumer);
      if (!hide) return;
      req.headers.delete(field);
      if (query !== undefined) removeQuery(req, query);
      if (cookie !== undefined) removeCookie(req, cookie);
    };
    const search = async (req: RequestHead, ctx: Ctx, key: string): Promise<Reply | undefined> => {
      const found = await inTurn(() => findSlowly(slow, key));
      if (found === null) return busy;
      if (found === "nobody") {
        unknowns.set(key, true);
        return unknown;
      }
      known.set(key, found);
      return accept(req, ctx, found);
    };

    return {
      request(req, ctx) {
        const key = read(req);
        if (key === undefined || key === "") return optional ? undefined : missing;
        if (key.length > maxKeyChars) return unknown;
        if (prefixes !== null && !prefixes.some((one) => isWellFormed(key, one))) return malformed;
        const consumer = consumers.byKey(key);
        if (consumer !== undefined) return accept(req, ctx, consumer);
        if (slow.length === 0) return unknown;
        const verified = known.get(key);
        if (verified !== undefined) return accept(req, ctx, verified);
        return unknowns.get(key) === true ? unknown : search(req, ctx, key);
      },
    };
  },
});

interface SlowKey {
  readonly consumer: Consumer;
  readonly stored: StoredHash;
}

function readSlow(consumers: Consumers): SlowKey[] {
  return consumers.entries.flatMap(({ name, keys }) =>
    keys.flatMap((key) => {
      const stored = readStoredHash(key);
      return stored?.isSlow === true ? [{ consumer: consumers.byName(name)!, stored }] : [];
    }),
  );
}

async function findSlowly(slow: readonly SlowKey[], key: string): Promise<Consumer | "nobody"> {
  for (const { consumer, stored } of slow) if (await stored.matches(key)) return consumer;
  return "nobody";
}
