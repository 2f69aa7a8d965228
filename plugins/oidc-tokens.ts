/** Makes sessions of a provider's tokens, and renews them. */

import { readClaim } from "./jwt-claims.ts";
import { TokenError, verifyToken } from "./jwt-verify.ts";
import { GrantRefused, IssuerAway } from "./oidc-issuer.ts";
import { Renewals } from "./oidc-renewals.ts";
import type { ClaimSet } from "./jwt-claims.ts";
import type { TokenKeys } from "./jwt-sources.ts";
import type { TokenRules } from "./jwt-verify.ts";
import type { Issuer, TokenSet } from "./oidc-issuer.ts";
import type { Session, ShownSession } from "./oidc-session.ts";
import type { Host } from "../proxy/pipeline/plugin.ts";

/** Tokens are renewed this long before they run out, so that a provider that is away for a moment is not missed. */
const renewAheadMs = 30_000;
/** For a provider that does not say how long its tokens live. */
const defaultLifeMs = 3_600_000;

const algorithms = "RS256 PS256 ES256 EdDSA Ed25519 RS384 RS512 ES384 ES512".split(" ");
/** Only for the protocol. */
const protocolClaims = new Set(["nonce", "at_hash", "c_hash", "s_hash"]);

/** A renewed session, or why there is none: the provider refuses it, or does not answer. */
export type Renewal = Session | "over" | "away";

export interface SessionMakerOptions {
  readonly issuerUrl: string;
  readonly clientId: string;
  readonly clockSkewMs: number;
  /** Claims that are used, `access_token` and `id_token` among them where they are forwarded. */
  readonly wanted: ReadonlySet<string>;
}

export class SessionMaker {
  private readonly issuer: Issuer;
  private readonly keys: TokenKeys;
  private readonly host: Host;
  private readonly options: SessionMakerOptions;
  private readonly rules: TokenRules;
  private readonly renewals: Renewals;

  constructor(
    { issuer, keys, host }: { issuer: Issuer; keys: TokenKeys; host: Host },
    options: SessionMakerOptions,
  ) {
    this.issuer = issuer;
    this.keys = keys;
    this.host = host;
    this.options = options;
    this.renewals = new Renewals(host, `${options.issuerUrl} ${options.clientId}`);
    this.rules = {
      algorithms,
      issuer: options.issuerUrl,
      audience: options.clientId,
      clockSkewMs: options.clockSkewMs,
      wallNow: () => host.wallNow(),
    };
  }

  /** The session of a login. Rejects with a {@link TokenError} or {@link IssuerAway}. */
  async begin(tokens: TokenSet, nonce: string): Promise<Session> {
    if (tokens.idToken === null) throw new TokenError("the provider sent no identity token");
    const claims = await this.verify(tokens.idToken);
    if (claims.nonce !== nonce) throw new TokenError("the identity token answers another login");
    return this.toSession(tokens, claims, null);
  }

  /** At once when it was tried a moment ago, by whatever worker. */
  renew({ key, session }: ShownSession): Renewal | Promise<Renewal> {
    const mayPass = this.host.wallNow() < session.tokensEndMs;
    return this.renewals.renew(key, mayPass, () => this.tryRenewal(session));
  }

  close(): void {
    this.renewals.close();
  }

  private async tryRenewal(before: Session): Promise<Renewal> {
    try {
      const tokens = await this.issuer.refresh(before.refreshToken!);
      let { claims } = before;
      if (tokens.idToken !== null) {
        claims = await this.verify(tokens.idToken);
        if (claims.sub !== before.claims.sub) return "over";
      }
      return await this.toSession(tokens, claims, before);
    } catch (error) {
      if (error instanceof GrantRefused) return "over";
      if (error instanceof TokenError) return error.isAway ? "away" : "over";
      if (!(error instanceof IssuerAway)) throw error;
      this.host.log.warn("a session could not be renewed", { reason: error.message });
      return "away";
    }
  }

  /** OpenID Connect Core 1.0 section 3.1.3.7. */
  private async verify(idToken: string): Promise<ClaimSet> {
    const claims = await verifyToken(idToken, this.keys, this.rules);
    const { aud, azp, sub } = claims;
    if (Array.isArray(aud) && aud.length > 1 && azp !== this.options.clientId)
      throw new TokenError("the identity token is for another client");
    if (typeof sub !== "string" || sub === "")
      throw new TokenError("the identity token is about nobody");
    return claims;
  }

  private async toSession(
    tokens: TokenSet,
    said: ClaimSet,
    before: Session | null,
  ): Promise<Session> {
    const { wanted } = this.options;
    let claims = withoutProtocol(said);
    const isLacking = [...wanted].some(
      (claim) => !isTokenName(claim) && readClaim(claims, claim) === undefined,
    );
    if (isLacking && tokens.accessToken !== null) {
      const more = await this.issuer.userInfo(tokens.accessToken);
      // section 5.3.2: claims about someone else are not used
      if (more.sub === claims.sub) claims = { ...more, ...claims };
    }
    const lifeMs = tokens.lifeMs ?? defaultLifeMs;
    const nowMs = this.host.wallNow();
    return {
      beganMs: before?.beganMs ?? nowMs,
      renewAtMs: nowMs + lifeMs - Math.min(renewAheadMs, lifeMs / 4),
      tokensEndMs: nowMs + lifeMs,
      claims,
      refreshToken: tokens.refreshToken ?? before?.refreshToken ?? null,
      idToken: tokens.idToken ?? before?.idToken ?? null,
      accessToken: wanted.has("access_token") ? tokens.accessToken : null,
    };
  }
}

/** Names in `forward` that stand for the tokens themselves. */
export function isTokenName(name: string): boolean {
  return name === "access_token" || name === "id_token";
}

function withoutProtocol(claims: ClaimSet): ClaimSet {
  return Object.fromEntries(Object.entries(claims).filter(([name]) => !protocolClaims.has(name)));
}
