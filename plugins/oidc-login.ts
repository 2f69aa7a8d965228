/** The way of a browser to its provider and back: authorization code with PKCE, state and nonce (RFC 9700 section 2.1). */

import { hash, randomBytes, timingSafeEqual } from "node:crypto";
import { cookieText } from "./chunked-cookie.ts";
import { readCookie } from "./identify.ts";
import { Sealer } from "./sealed-text.ts";
import type { RequestHead } from "../proxy/pipeline/plugin.ts";

/** How long a visitor may take to log in. */
const loginMs = 600_000;
/** Longer targets are not remembered: the visitor comes back to `/`. */
const maxTargetChars = 1024;

export interface LoginOptions {
  readonly clientId: string;
  readonly scopes: readonly string[];
  /** Path, or whole URL, that the provider sends browsers back to. */
  readonly callback: string;
  /** Name of the session's cookie. */
  readonly cookie: string;
  readonly secrets: readonly string[];
  readonly params: Readonly<Record<string, string>>;
}

/** What is sealed into the cookie of one login. Times are milliseconds since 1970. */
export interface Login {
  readonly state: string;
  readonly nonce: string;
  readonly verifier: string;
  readonly redirectUri: string;
  /** Where the visitor wanted to go: path and query. */
  readonly target: string;
  readonly beganMs: number;
}

/** A redirect to the provider, and the cookie that will prove who came back. */
export interface LoginStart {
  readonly location: string;
  readonly setCookie: string;
}

/** Begins logins and recognises the ones it began. */
export class Logins {
  readonly callbackPath: string;
  private readonly options: LoginOptions;
  private readonly sealer: Sealer;
  /** `https://app.example.com` when the callback is a whole URL. */
  private readonly origin: string | null;

  constructor(options: LoginOptions) {
    this.options = options;
    const url = options.callback.startsWith("/") ? null : new URL(options.callback);
    this.origin = url?.origin ?? null;
    this.callbackPath = url?.pathname ?? options.callback;
    this.sealer = new Sealer(options.secrets, `weft login ${options.clientId}`);
  }

  /** Scheme, host and port under which browsers see this gateway. */
  originOf(req: RequestHead): string {
    return this.origin ?? `${req.scheme}://${req.authority}`;
  }

  isSecure(req: RequestHead): boolean {
    return this.originOf(req).startsWith("https:");
  }

  /** @param authorize the provider's authorization endpoint */
  begin(req: RequestHead, authorize: string, nowMs: number): LoginStart {
    const { clientId, scopes, params } = this.options;
    const login: Login = {
      state: random(),
      nonce: random(),
      verifier: random(),
      redirectUri: `${this.originOf(req)}${this.callbackPath}`,
      target: req.target.length <= maxTargetChars ? req.target : "/",
      beganMs: nowMs,
    };
    const url = new URL(authorize);
    const query = {
      ...params,
      response_type: "code",
      client_id: clientId,
      redirect_uri: login.redirectUri,
      scope: scopes.join(" "),
      state: login.state,
      nonce: login.nonce,
      code_challenge: hash("sha256", login.verifier, "base64url"),
      code_challenge_method: "S256",
    };
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    const sealed = this.sealer.seal(JSON.stringify(login));
    return { location: url.href, setCookie: this.cookie(req, login.state, sealed) };
  }

  /** The login that a callback belongs to; null: none that this browser began here. */
  find(req: RequestHead, state: string, nowMs: number): Login | null {
    if (!/^[\w-]{43}$/.test(state)) return null;
    const sealed = readCookie(req, this.cookieName(state));
    const opened = sealed === undefined ? null : this.sealer.open(sealed);
    if (opened === null) return null;
    const login = JSON.parse(opened.text) as Login;
    const isSame = timingSafeEqual(Buffer.from(login.state), Buffer.from(state));
    return isSame && nowMs - login.beganMs < loginMs ? login : null;
  }

  /** The Set-Cookie value that ends a login. */
  end(req: RequestHead, state: string): string {
    return this.cookie(req, state, "");
  }

  /** Each login has its own cookie, so that two tabs may log in at once. */
  private cookieName(state: string): string {
    return `${this.options.cookie}.login-${state.slice(0, 12)}`;
  }

  private cookie(req: RequestHead, state: string, value: string): string {
    const place = {
      name: this.cookieName(state),
      path: this.callbackPath,
      secure: this.isSecure(req),
    };
    return cookieText(place, value, value === "" ? 0 : loginMs / 1000);
  }
}

/** 256 bits, 43 characters. */
function random(): string {
  return randomBytes(32).toString("base64url");
}
