/** Knows callers by name and password (RFC 7617): a consumer's name, and a secret whose hash is among its keys. */

import { z } from "zod";
import { definePlugin, problem } from "../proxy/pipeline/plugin.ts";
import { identify } from "./identify.ts";
import { readStoredHash } from "./secret-hash.ts";
import { inTurn } from "./slow-checks.ts";
import { VerifiedSecrets } from "./verified-secrets.ts";
import type { StoredHash } from "./secret-hash.ts";
import type { Consumer, Consumers, Ctx, Reply, RequestHead } from "../proxy/pipeline/plugin.ts";

/** Longer credentials are none: they are not decoded. */
const maxChars = 2048;
/** Passwords verified with a slow hash are remembered; wrong ones for a shorter time. */
const memory = { max: 4096, ttlMs: 300_000 };
const refusals = { max: 4096, ttlMs: 10_000 };

export default definePlugin({
  name: "basic-auth",
  stage: "authn",
  modes: ["gateway", "mesh-inbound"],
  // slow hashes wait for each other
  timeout: "30s",
  config: z.strictObject({
    realm: z
      .string()
      .regex(/^[ !#-[\]-~]*$/, "has a quote, a backslash or a character that is not ASCII")
      .default("weft"),
    optional: z.boolean().default(false),
    hide: z.boolean().default(true),
  }),
  setup({ realm, optional, hide }, host) {
    const users = readUsers(host.consumers);
    // a stranger's name costs what a consumer's costs: the time must not tell which names exist
    const slowest = [...users.values()].flatMap(({ hashes }) => hashes).find((one) => one.isSlow);
    const nobody: User = { consumer: null, hashes: slowest === undefined ? [] : [slowest] };
    const known = new VerifiedSecrets<true>(host, memory);
    const wrong = new VerifiedSecrets<true>(host, refusals);
    const challenge = { "www-authenticate": `Basic realm="${realm}", charset="UTF-8"` };
    const missing = problem(
      "unauthenticated",
      401,
      "a user name and a password are needed",
      challenge,
    );
    const refused = problem(
      "unauthenticated",
      401,
      "the user name or the password is wrong",
      challenge,
    );
    const busy = problem("overloaded", 503, "too many passwords are being checked", {
      "retry-after": "1",
    });

    const accept = (req: RequestHead, ctx: Ctx, consumer: Consumer): undefined => {
      identify(req, ctx, consumer);
      if (hide) req.headers.delete("authorization");
    };
    const check = async (
      req: RequestHead,
      ctx: Ctx,
      { user, password, credentials }: Given,
    ): Promise<Reply | undefined> => {
      const found = await inTurn(() => matchesSlowly(user, password));
      if (found === null) return busy;
      if (!found || user.consumer === null) {
        wrong.set(credentials, true);
        return refused;
      }
      known.set(credentials, true);
      return accept(req, ctx, user.consumer);
    };

    return {
      request(req, ctx) {
        const value = req.headers.get("authorization");
        const credentials = value === undefined ? null : readCredentials(value);
        // another scheme, such as Bearer, is for another plugin
        if (credentials === null) return optional ? undefined : missing;
        const colon = credentials.indexOf(":");
        if (colon === -1) return refused;
        const password = credentials.slice(colon + 1);
        const user = users.get(credentials.slice(0, colon)) ?? nobody;
        if (user.consumer !== null && matchesAtOnce(user, password))
          return accept(req, ctx, user.consumer);
        if (!user.hashes.some((one) => one.isSlow)) return refused;
        if (user.consumer !== null && known.get(credentials) === true)
          return accept(req, ctx, user.consumer);
        if (wrong.get(credentials) === true) return refused;
        return check(req, ctx, { user, password, credentials });
      },
    };
  },
});

interface User {
  readonly consumer: Consumer | null;
  readonly hashes: readonly StoredHash[];
}
interface Given {
  readonly user: User;
  readonly password: string;
  readonly credentials: string;
}

function readUsers(consumers: Consumers): Map<string, User> {
  const users = new Map<string, User>();
  for (const { name, keys } of consumers.entries) {
    const hashes = keys.flatMap((key) => readStoredHash(key) ?? []);
    users.set(name, { consumer: consumers.byName(name)!, hashes });
  }
  return users;
}

/** `user:password`; null: not of this scheme, or unreadable. */
function readCredentials(value: string): string | null {
  if (value.length > maxChars) return null;
  const token = /^basic +([A-Za-z0-9+/_-]+={0,2}) *$/i.exec(value);
  return token === null ? null : Buffer.from(token[1]!, "base64").toString("utf8");
}

function matchesAtOnce(user: User, password: string): boolean {
  return user.hashes.some((one) => !one.isSlow && one.matches(password) === true);
}

async function matchesSlowly(user: User, password: string): Promise<boolean> {
  for (const one of user.hashes) if (one.isSlow && (await one.matches(password))) return true;
  return false;
}
