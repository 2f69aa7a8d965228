/** Knows callers by a signed token (RFC 7519), and answers as bearer tokens want it (RFC 6750). */

import { z } from "zod";
import { Claims, definePlugin, problem } from "../proxy/pipeline/plugin.ts";
import { identify, readCookie } from "./identify.ts";
import { claimText, hasValue, readClaim, scopesOf } from "./jwt-claims.ts";
import { openIssuers } from "./jwt-issuers.ts";
import { TokenError, verifyToken } from "./jwt-verify.ts";
import { durationOption, fieldNameOption, writableNameOption } from "./options.ts";
import type { ClaimSet } from "./jwt-claims.ts";
import type {
  Consumer,
  Consumers,
  Ctx,
  Host,
  Reply,
  RequestHead,
} from "../proxy/pipeline/plugin.ts";

const scalar = z.union([z.string(), z.number(), z.boolean()]);
const publicKeyAlgorithms = ["RS256", "PS256", "ES256", "EdDSA"];
/** Allowed by default only beside a given secret, and only a given secret can be used with them. */
const secretAlgorithms = ["HS256", "HS384", "HS512"];
const algorithm = z.enum([
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
  "EdDSA",
  "Ed25519",
  "HS256",
  "HS384",
  "HS512",
]);
const config = z
  .strictObject({
    issuer: z.union([z.string(), z.array(z.string()).min(1)]).optional(),
    audience: z.union([z.string(), z.array(z.string()).min(1)]).optional(),
    jwks: z.string().min(1).optional(),
    keys: z.array(z.union([z.string(), z.record(z.string(), z.unknown())])).optional(),
    algorithms: z.array(algorithm).min(1).optional(),
    header: fieldNameOption().default("authorization"),
    cookie: fieldNameOption().optional(),
    clockSkew: durationOption().default(30_000),
    require: z.record(z.string(), z.union([scalar, z.array(scalar)])).default({}),
    scopes: z.array(z.string()).default([]),
    forward: z.record(z.string(), writableNameOption()).default({}),
    consumerClaim: z.string().default("sub"),
    optional: z.boolean().default(false),
  })
  .refine(
    ({ issuer, jwks, keys }) =>
      issuer !== undefined || jwks !== undefined || (keys?.length ?? 0) > 0,
    "jwt needs keys, jwks or an issuer",
  );

type Config = z.output<typeof config>;

/** What is kept of a token that was verified. */
interface Verified {
  readonly claims: ClaimSet;
  readonly consumer: Consumer | null;
  /** Null: the token may pass; else the answer to everyone who shows it. */
  readonly refusal: Reply | null;
  readonly forward: readonly (readonly [number, string])[];
  /** Wall clock, with the allowed skew: what is remembered is kept by a clock that does not notice when that one is set. */
  readonly untilMs: number;
}

/** Tokens remembered, and the longest one. */
const cacheMax = 4096;
const cacheTokenChars = 4096;
/** A token without `exp` is verified again after this. */
const cacheTtlMs = 300_000;
/** A token with a wrong signature is not verified again for so long. */
const forgedTtlMs = 10_000;

export default definePlugin({
  name: "jwt",
  stage: "authn",
  modes: ["gateway", "mesh-inbound"],
  provides: [Claims],
  config,
  async setup(options, host) {
    const field = host.header(options.header);
    const forwardFields = Object.values(options.forward).map((name) => host.header(name));
    const issuers = await openIssuers(options, host);
    const algorithms = options.algorithms ?? [
      ...publicKeyAlgorithms,
      ...(issuers.hasSecret ? secretAlgorithms : []),
    ];
    const rules = {
      algorithms,
      audience: options.audience,
      clockSkewMs: options.clockSkew,
      wallNow: () => host.wallNow(),
    };
    const cache = host.local<Verified>("tokens", { max: cacheMax, ttlMs: cacheTtlMs });
    const forged = host.local<Reply>("forged tokens", { max: cacheMax, ttlMs: forgedTtlMs });
    const conclude = toConclusion(options, host.consumers);
    const places =
      options.cookie === undefined ? field.lower : `${field.lower} or the cookie ${options.cookie}`;
    const notAccepted = "the token's issuer is not accepted";
    const strange = unauthenticated(notAccepted, notAccepted);
    const missing = unauthenticated(`a bearer token is needed in ${places}`, null);
    let cachedVersion = issuers.version;

    const accept = (req: RequestHead, ctx: Ctx, verified: Verified): Reply | undefined => {
      if (verified.refusal !== null) return verified.refusal;
      ctx.set(Claims, verified.claims);
      for (const [index, text] of verified.forward) req.headers.set(forwardFields[index]!, text);
      if (verified.consumer !== null) identify(req, ctx, verified.consumer);
      return undefined;
    };
    const verify = async (
      req: RequestHead,
      ctx: Ctx,
      token: string,
    ): Promise<Reply | undefined> => {
      const source = issuers.of(token);
      if (source === null) return strange;
      const { keys, issuer } = source;
      const { version } = issuers;
      const mayKeep = (): boolean => token.length <= cacheTokenChars && version === issuers.version;
      try {
        const claims = await verifyToken(token, keys, { ...rules, issuer });
        const verified = conclude(claims);
        const lifeMs = lifeOf(claims, host.wallNow() - options.clockSkew);
        if (mayKeep()) cache.set(token, verified, lifeMs);
        return accept(req, ctx, verified);
      } catch (error) {
        if (!(error instanceof TokenError)) throw error;
        if (error.isAway) return away(host, keys.awayReason);
        const refusal = unauthenticated(error.message, error.message);
        if (error.kind === "forged" && mayKeep()) forged.set(token, refusal);
        return refusal;
      }
    };

    return {
      request(req, ctx) {
        // a caller must not say itself what only a token may say
        for (const name of forwardFields) req.headers.delete(name);
        issuers.keepFresh();
        if (issuers.version !== cachedVersion) {
          cachedVersion = issuers.version;
          cache.clear();
          forged.clear();
        }
        const value = req.headers.get(field);
        // no text but a token that was verified is a name in the cache
        const shown = value?.startsWith("Bearer ") === true ? cache.get(value.slice(7)) : undefined;
        if (shown !== undefined && host.wallNow() < shown.untilMs) return accept(req, ctx, shown);
        const token = readToken(req, value, field.lower, options.cookie);
        if (token === undefined) return options.optional ? undefined : missing;
        const known = cache.get(token);
        if (known !== undefined && host.wallNow() < known.untilMs) return accept(req, ctx, known);
        return forged.get(token) ?? verify(req, ctx, token);
      },
      close() {
        issuers.close();
      },
    };
  },
});

function readToken(
  req: RequestHead,
  value: string | undefined,
  header: string,
  cookie: string | undefined,
): string | undefined {
  if (value !== undefined) {
    const bearer = /^bearer +(\S+)$/i.exec(value);
    if (bearer !== null) return bearer[1];
    // another scheme, such as Basic, is no token of ours; a header of one's own may hold the bare token
    if (header !== "authorization") return value;
  }
  return cookie === undefined ? undefined : readCookie(req, cookie);
}

/** Everything about a token that does not depend on the request, worked out once. */
function toConclusion(options: Config, consumers: Consumers): (claims: ClaimSet) => Verified {
  const wanted = Object.entries(options.require).map(
    ([name, value]) => [name, Array.isArray(value) ? value : [value]] as const,
  );
  return (claims) => {
    const name = readClaim(claims, options.consumerClaim);
    const consumer =
      typeof name === "string" && name !== ""
        ? (consumers.byName(name) ?? { name, plan: null, groups: [] })
        : null;
    const forward = Object.keys(options.forward).flatMap((claim, index) => {
      const text = claimText(readClaim(claims, claim));
      return text === null ? [] : [[index, text] as const];
    });
    const scopes = scopesOf(claims);
    let refusal: Reply | null = null;
    const lacking = options.scopes.filter((scope) => !scopes.has(scope));
    if (lacking.length > 0) {
      refusal = problem("forbidden", 403, `the token lacks the scope ${lacking.join(" ")}`, {
        "www-authenticate": `Bearer realm="weft", error="insufficient_scope", scope="${options.scopes.join(" ")}"`,
      });
    }
    for (const [claim, values] of wanted) {
      if (refusal === null && !hasValue(readClaim(claims, claim), values)) {
        refusal = problem("forbidden", 403, `the token's claim ${claim} does not allow this`);
      }
    }
    const untilMs =
      typeof claims.exp === "number"
        ? claims.exp * 1000 + options.clockSkew
        : Number.POSITIVE_INFINITY;
    return { claims, consumer, refusal, forward, untilMs };
  };
}

/** @param reason null when no token came: then RFC 6750 section 3.1 wants no error code */
function unauthenticated(detail: string, reason: string | null): Reply {
  const error =
    reason === null
      ? ""
      : `, error="invalid_token", error_description="${reason.replaceAll('"', "'")}"`;
  return problem("unauthenticated", 401, detail, {
    "www-authenticate": `Bearer realm="weft"${error}`,
  });
}

function away(host: Host, reason: string | null): Reply {
  host.log.warn("the key set for tokens cannot be fetched", { reason });
  return problem("auth-unavailable", 503, "the keys to verify this token cannot be fetched", {
    "retry-after": "1",
  });
}

function lifeOf(claims: ClaimSet, wallMs: number): number {
  return typeof claims.exp === "number" ? Math.max(0, claims.exp * 1000 - wallMs) : cacheTtlMs;
}
