/** Logs browsers in at an OpenID provider, and knows them by a session in their own cookie. */

import { z } from "zod";
import { Claims, Reply, definePlugin, problem, slot } from "../proxy/pipeline/plugin.ts";
import { stripChunks } from "./chunked-cookie.ts";
import { identify } from "./identify.ts";
import { claimText, readClaim } from "./jwt-claims.ts";
import { openKeys } from "./jwt-sources.ts";
import { TokenError } from "./jwt-verify.ts";
import { GrantRefused, Issuer, IssuerAway } from "./oidc-issuer.ts";
import { Logins } from "./oidc-login.ts";
import { Sessions } from "./oidc-session.ts";
import { SessionMaker, isTokenName } from "./oidc-tokens.ts";
import { durationOption, fieldNameOption, writableNameOption } from "./options.ts";
import type { IssuerMetadata } from "./oidc-issuer.ts";
import type { Session, ShownSession } from "./oidc-session.ts";
import type { Renewal } from "./oidc-tokens.ts";
import type { Ctx, RequestHead } from "../proxy/pipeline/plugin.ts";

const minSecretChars = 8;
/** A shorter secret can be guessed from a cookie, given time. */
const goodSecretChars = 32;

const url = z
  .string()
  .refine((text) => URL.canParse(text) && /^https?:$/.test(new URL(text).protocol), {
    message: "an http or https URL",
  });
const path = z
  .string()
  .regex(/^\/[\w.~/-]*$/, "a path such as /oauth2/callback")
  .refine((text) => !text.startsWith("//"), "a path such as /oauth2/callback");
const secret = z
  .string()
  .min(minSecretChars, `at least ${minSecretChars} characters, better 32 random ones`);

const config = z
  .strictObject({
    issuer: url,
    clientId: z.string().min(1),
    clientSecret: z.string().min(1).optional(),
    scopes: z
      .array(z.string().min(1))
      .default(["openid"])
      .transform((scopes) => (scopes.includes("openid") ? scopes : ["openid", ...scopes])),
    callback: z.union([path, url]).default("/oauth2/callback"),
    logout: path.default("/oauth2/logout"),
    afterLogout: z.union([path, url]).optional(),
    cookie: fieldNameOption().default("weft-session"),
    secret: z.union([secret, z.array(secret).min(1)]).optional(),
    maxAge: durationOption().default(86_400_000),
    forward: z.record(z.string(), writableNameOption()).default({}),
    consumerClaim: z.string().default("sub"),
    params: z.record(z.string(), z.string()).default({}),
    clockSkew: durationOption().default(30_000),
  })
  .refine(({ secret: own, clientSecret }) => own !== undefined || clientSecret !== undefined, {
    message: "oidc needs a secret to seal sessions with, when there is no clientSecret",
  });

/** The log has at most one line about an absent provider in this time. */
const complainMs = 1000;

export default definePlugin({
  name: "oidc",
  stage: "authn",
  modes: ["gateway", "mesh-inbound"],
  provides: [Claims],
  timeout: "30s",
  config,
  async setup(options, host) {
    const { issuer: issuerUrl, clientId, logout } = options;
    const secrets = [options.secret ?? options.clientSecret!].flat();
    const keys = await openKeys({ issuer: issuerUrl }, host);
    if (options.secret !== undefined && secrets.some((one) => one.length < goodSecretChars))
      host.log.warn("a secret for sessions has less than 32 characters: use 32 random ones");
    const client = { id: clientId, secret: options.clientSecret ?? null };
    const issuer = new Issuer(issuerUrl, client, () => host.now());
    const logins = new Logins({ ...options, secrets });
    const sessions = new Sessions(host, {
      name: options.cookie,
      secrets,
      purpose: `${issuerUrl} ${clientId}`,
      maxAgeMs: options.maxAge,
    });
    const forward = Object.entries(options.forward).map(
      ([claim, name]) => [claim, host.header(name)] as const,
    );
    const maker = new SessionMaker(
      { issuer, keys, host },
      {
        issuerUrl,
        clientId,
        clockSkewMs: options.clockSkew,
        wanted: new Set([...Object.keys(options.forward), options.consumerClaim]),
      },
    );
    let complainedMs = Number.NEGATIVE_INFINITY;
    const unauthenticated = (detail: string, cookies: readonly string[] = []): Reply =>
      new Reply(
        401,
        [["www-authenticate", 'Session realm="weft"'], ...toFields(cookies)],
        null,
        "unauthenticated",
        detail,
      );
    /** For the answer of an exchange. */
    const newCookies = slot<readonly string[]>("oidc cookies");
    const needed = "a browser has to log in first";
    const forged = (detail: string): Reply => problem("bad-request", 400, detail);
    /** @param error null: the log has it already */
    const away = (error: unknown): Reply => {
      if (error !== null && host.now() - complainedMs >= complainMs) {
        complainedMs = host.now();
        const reason = error instanceof Error ? error.message : String(error);
        host.log.warn("the identity provider does not answer", { reason });
      }
      const detail = "the identity provider does not answer";
      return problem("auth-unavailable", 503, detail, { "retry-after": "5" });
    };
    // asked for ahead of the first visitor; an absent provider is asked again then
    Promise.resolve(issuer.metadata()).catch(() => {});

    const accept = (req: RequestHead, ctx: Ctx, session: Session): undefined => {
      const { claims } = session;
      ctx.set(Claims, claims);
      for (const [claim, field] of forward) {
        const text = forwardText(session, claim, field.lower);
        if (text !== null) req.headers.set(field, text);
      }
      const name = readClaim(claims, options.consumerClaim);
      if (typeof name === "string" && name !== "")
        identify(req, ctx, host.consumers.byName(name) ?? { name, plan: null, groups: [] });
    };
    const keep = (req: RequestHead, ctx: Ctx, session: Session): undefined => {
      const cookies = sessions.write(req, session, logins.isSecure(req));
      if (cookies !== null) ctx.set(newCookies, cookies);
      stripChunks(req, options.cookie);
      return accept(req, ctx, session);
    };

    const challenge = (req: RequestHead): Reply | Promise<Reply> => {
      const cleared = sessions.clear(req, logins.isSecure(req));
      const accepts = req.headers.get("accept") ?? "";
      if (req.method !== "GET" || !/\btext\/html\b/i.test(accepts))
        return unauthenticated(needed, cleared);
      const begin = ({ authorize }: IssuerMetadata): Reply => {
        const { location, setCookie } = logins.begin(req, authorize, host.wallNow());
        return redirect(location, [...cleared, setCookie]);
      };
      const metadata = issuer.metadata();
      return metadata instanceof Promise ? metadata.then(begin, away) : begin(metadata);
    };

    const finishLogin = async (req: RequestHead): Promise<Reply> => {
      const query = new URLSearchParams(req.query);
      const [state, code, error, from] = ["state", "code", "error", "iss"].map((name) =>
        query.getAll(name).length === 1 ? query.get(name)! : null,
      );
      const login = logins.find(req, state ?? "", host.wallNow());
      if (login === null)
        return forged("this login was not begun by this browser, or took too long: begin again");
      const done = [logins.end(req, login.state)];
      try {
        if (from === null ? (await issuer.metadata()).namesItself : from !== issuerUrl)
          return forged("the answer comes from another identity provider");
        if (error !== null && error !== undefined) return refusedLogin(error, done);
        if (code === null || code === undefined) return forged("the answer has no code");
        const tokens = await issuer.exchange(code, login.redirectUri, login.verifier);
        const session = await maker.begin(tokens, login.nonce);
        const cookies = sessions.write(req, session, logins.isSecure(req));
        if (cookies === null) {
          host.log.error("a session is too large for cookies: forward fewer claims or tokens");
          return problem("plugin-error", 500, "the session is too large for cookies");
        }
        // an absolute address of our own: a target such as //evil.example leads nowhere else
        return redirect(`${logins.originOf(req)}${login.target}`, [...done, ...cookies]);
      } catch (failure) {
        if (failure instanceof IssuerAway) return away(failure);
        if (failure instanceof GrantRefused)
          return forged(`the identity provider refuses the code (${failure.message})`);
        if (!(failure instanceof TokenError)) throw failure;
        if (failure.isAway) return away(new Error(keys.awayReason ?? "no keys"));
        return unauthenticated(failure.message, done);
      }
    };
    const refusedLogin = (error: string, cookies: readonly string[]): Reply => {
      if (error === "temporarily_unavailable" || error === "server_error")
        return away(new Error(error));
      const detail = `the identity provider did not log you in (${error.replaceAll(/[^\w.-]/g, "").slice(0, 64)})`;
      return new Reply(403, toFields(cookies), null, "forbidden", detail);
    };

    const settle = (
      req: RequestHead,
      ctx: Ctx,
      { shown, renewal }: { shown: ShownSession; renewal: Renewal },
    ): Reply | undefined | Promise<Reply> => {
      if (typeof renewal !== "string") return keep(req, ctx, renewal);
      // another worker may have renewed it just now with the same refresh token
      if (host.wallNow() < shown.session.tokensEndMs) return pass(req, ctx, shown);
      return renewal === "over" ? challenge(req) : away(null);
    };
    const pass = (req: RequestHead, ctx: Ctx, { session, isOld }: ShownSession): undefined => {
      if (isOld) return keep(req, ctx, session);
      stripChunks(req, options.cookie);
      return accept(req, ctx, session);
    };

    const endSession = async (req: RequestHead): Promise<Reply> => {
      const cookies = sessions.clear(req, logins.isSecure(req));
      const session = sessions.read(req)?.session ?? null;
      if (session !== null && session.refreshToken !== null)
        void issuer.revoke(session.refreshToken);
      const { afterLogout } = options;
      const after =
        afterLogout?.startsWith("/") === true
          ? `${logins.originOf(req)}${afterLogout}`
          : afterLogout;
      const endpoint = await endSessionOf(issuer);
      if (endpoint !== null) {
        const to = new URL(endpoint);
        to.searchParams.set("client_id", clientId);
        if (session !== null && session.idToken !== null)
          to.searchParams.set("id_token_hint", session.idToken);
        if (after !== undefined) to.searchParams.set("post_logout_redirect_uri", after);
        return redirect(to.href, cookies);
      }
      if (after !== undefined) return redirect(after, cookies);
      const fields = [...toFields(cookies), ["content-type", "text/plain; charset=utf-8"]] as const;
      return new Reply(200, fields, "You are logged out.\n");
    };

    return {
      request(req, ctx) {
        // a caller must not say itself what only the provider may say
        for (const [, field] of forward) req.headers.delete(field);
        if (req.path === logins.callbackPath) {
          return req.method === "GET" ? finishLogin(req) : forged("a login ends with a GET");
        }
        if (req.path === logout && (req.method === "GET" || req.method === "POST"))
          return endSession(req);
        keys.keepFresh();
        const shown = sessions.read(req);
        if (shown === null) return challenge(req);
        const { session } = shown;
        const nowMs = host.wallNow();
        if (session.refreshToken === null)
          return nowMs < session.tokensEndMs ? pass(req, ctx, shown) : challenge(req);
        if (nowMs < session.renewAtMs) return pass(req, ctx, shown);
        const renewal = maker.renew(shown);
        return renewal instanceof Promise
          ? renewal.then((found) => settle(req, ctx, { shown, renewal: found }))
          : settle(req, ctx, { shown, renewal });
      },
      response(res, ctx) {
        for (const cookie of ctx.get(newCookies) ?? []) res.headers.append("set-cookie", cookie);
      },
      close() {
        maker.close();
        keys.close();
      },
    };
  },
});

function redirect(location: string, cookies: readonly string[]): Reply {
  const fields = [["location", location], ["cache-control", "no-store"], ...toFields(cookies)];
  return new Reply(302, fields as [string, string][], null);
}

function toFields(cookies: readonly string[]): [string, string][] {
  return cookies.map((cookie) => ["set-cookie", cookie]);
}

/** Where a browser logs out of the provider itself; null: nowhere, or the provider is away. */
async function endSessionOf(issuer: Issuer): Promise<string | null> {
  try {
    return (await issuer.metadata()).endSession;
  } catch {
    return null;
  }
}

/** A claim, or one of the tokens themselves; in Authorization a token is a bearer token. */
function forwardText(session: Session, claim: string, field: string): string | null {
  if (!isTokenName(claim)) return claimText(readClaim(session.claims, claim));
  const token = claim === "access_token" ? session.accessToken : session.idToken;
  if (token === null) return null;
  return field === "authorization" ? `Bearer ${token}` : token;
}
