/** Talks to an OpenID provider: its metadata, codes and refresh tokens for tokens, claims about a user. */

import { fetchText } from "./fetch-text.ts";

/** The provider does not answer, or not sensibly: nobody's fault but its own. */
export class IssuerAway extends Error {}
/** The provider refuses a code or a refresh token; the message is its error code. */
export class GrantRefused extends Error {}

/** What is used of OpenID Connect Discovery 1.0 section 3. */
export interface IssuerMetadata {
  readonly authorize: string;
  readonly token: string;
  readonly userInfo: string | null;
  readonly endSession: string | null;
  readonly revocation: string | null;
  readonly authMethods: readonly string[];
  /** RFC 9207: the callback always says which provider it comes from. */
  readonly namesItself: boolean;
}

/** RFC 6749 section 5.1 and OpenID Connect Core 1.0 section 3.1.3.3. */
export interface TokenSet {
  readonly idToken: string | null;
  readonly accessToken: string | null;
  readonly refreshToken: string | null;
  /** Milliseconds; null: it does not say. */
  readonly lifeMs: number | null;
}

export interface ClientIdentity {
  readonly id: string;
  /** Null: a public client, which PKCE alone protects. */
  readonly secret: string | null;
}

const limits = { timeoutMs: 5000, maxBytes: 512 * 1024 };
const metadataAgeMs = 600_000;
/** After a failure the metadata are asked for again at most this often. */
const retryPauseMs = 1000;

/** One provider, as one worker knows it. */
export class Issuer {
  private readonly url: string;
  private readonly client: ClientIdentity;
  private readonly now: () => number;
  private known: IssuerMetadata | null = null;
  private staleAtMs = 0;
  private askedMs = Number.NEGATIVE_INFINITY;
  private running: Promise<IssuerMetadata> | null = null;

  /** @param now monotonic milliseconds */
  constructor(url: string, client: ClientIdentity, now: () => number) {
    this.url = url;
    this.client = client;
    this.now = now;
  }

  /** What is known serves on while it is renewed, or while the provider is away. Throws or rejects with {@link IssuerAway}. */
  metadata(): IssuerMetadata | Promise<IssuerMetadata> {
    if (this.known !== null && this.now() < this.staleAtMs) return this.known;
    const asking = this.ask();
    if (this.known === null) return asking;
    asking.catch(() => {});
    return this.known;
  }

  private async ask(): Promise<IssuerMetadata> {
    if (this.running !== null) return this.running;
    if (this.now() - this.askedMs < retryPauseMs)
      throw new IssuerAway(`${this.url}: it did not answer a moment ago`);
    this.askedMs = this.now();
    this.running = this.fetchMetadata().finally(() => {
      this.running = null;
    });
    return this.running;
  }

  private async fetchMetadata(): Promise<IssuerMetadata> {
    try {
      const where = `${this.url.replace(/\/$/, "")}/.well-known/openid-configuration`;
      const { text } = await fetchText(where, limits);
      const found = toObject(JSON.parse(text));
      if (found.issuer !== this.url)
        throw new Error(`${where}: names the issuer ${JSON.stringify(found.issuer)}`);
      const methods = found.token_endpoint_auth_methods_supported;
      this.known = {
        authorize: endpoint(found, "authorization_endpoint"),
        token: endpoint(found, "token_endpoint"),
        userInfo: optionalEndpoint(found, "userinfo_endpoint"),
        endSession: optionalEndpoint(found, "end_session_endpoint"),
        revocation: optionalEndpoint(found, "revocation_endpoint"),
        authMethods: Array.isArray(methods) ? methods.map(String) : ["client_secret_basic"],
        namesItself: found.authorization_response_iss_parameter_supported === true,
      };
      this.staleAtMs = this.now() + metadataAgeMs;
      return this.known;
    } catch (error) {
      throw new IssuerAway(messageOf(error));
    }
  }

  /** Rejects with {@link IssuerAway} or {@link GrantRefused}. */
  exchange(code: string, redirectUri: string, verifier: string): Promise<TokenSet> {
    return this.grant({
      grant_type: "authorization_code",
      code,
      redirect_uri: redirectUri,
      code_verifier: verifier,
    });
  }

  /** Rejects with {@link IssuerAway} or {@link GrantRefused}. */
  refresh(refreshToken: string): Promise<TokenSet> {
    return this.grant({ grant_type: "refresh_token", refresh_token: refreshToken });
  }

  /** RFC 7009, as far as the provider can: a failure changes nothing. */
  async revoke(refreshToken: string): Promise<void> {
    try {
      const { revocation } = await this.metadata();
      if (revocation === null) return;
      const form = { token: refreshToken, token_type_hint: "refresh_token" };
      await this.post(revocation, form);
    } catch {
      // the token dies of age
    }
  }

  /** Claims about the user, OpenID Connect Core 1.0 section 5.3. */
  async userInfo(accessToken: string): Promise<Record<string, unknown>> {
    const { userInfo } = await this.metadata();
    if (userInfo === null) return {};
    const headers = { authorization: `Bearer ${accessToken}`, accept: "application/json" };
    const { status, text } = await send(userInfo, { headers });
    if (status !== 200) throw new IssuerAway(`${userInfo}: status ${status}`);
    return parse(userInfo, text);
  }

  private async grant(form: Record<string, string>): Promise<TokenSet> {
    const { token } = await this.metadata();
    const { status, text } = await this.post(token, form);
    if (status >= 500 || status === 429) throw new IssuerAway(`${token}: status ${status}`);
    const answer = parse(token, text);
    if (status !== 200) {
      const error = typeof answer.error === "string" ? answer.error.slice(0, 64) : `${status}`;
      // the configuration is wrong, not the user
      if (error === "invalid_client" || error === "unauthorized_client")
        throw new IssuerAway(`${token}: ${error}`);
      throw new GrantRefused(error.replaceAll(/[^\w.-]/g, ""));
    }
    const lifeS = Number(answer.expires_in);
    return {
      idToken: textOf(answer.id_token),
      accessToken: textOf(answer.access_token),
      refreshToken: textOf(answer.refresh_token),
      lifeMs: Number.isFinite(lifeS) && lifeS > 0 ? lifeS * 1000 : null,
    };
  }

  /** RFC 6749 section 2.3.1. */
  private async post(url: string, form: Record<string, string>): Promise<SentAnswer> {
    const { authMethods } = await this.metadata();
    const { id, secret } = this.client;
    const body = new URLSearchParams(form);
    const headers: Record<string, string> = { accept: "application/json" };
    if (secret !== null && authMethods.includes("client_secret_basic")) {
      const pair = `${formText(id)}:${formText(secret)}`;
      headers.authorization = `Basic ${Buffer.from(pair).toString("base64")}`;
    } else {
      body.set("client_id", id);
      if (secret !== null) body.set("client_secret", secret);
    }
    return send(url, { method: "POST", headers, body });
  }
}

interface SentAnswer {
  readonly status: number;
  readonly text: string;
}

async function send(url: string, init: RequestInit): Promise<SentAnswer> {
  try {
    const signal = AbortSignal.timeout(limits.timeoutMs);
    const answer = await fetch(url, { ...init, signal, redirect: "error" });
    const chunks: Uint8Array[] = [];
    let bytes = 0;
    for await (const chunk of answer.body ?? []) {
      bytes += chunk.length;
      if (bytes > limits.maxBytes) throw new Error(`more than ${limits.maxBytes} bytes`);
      chunks.push(chunk);
    }
    return { status: answer.status, text: Buffer.concat(chunks).toString("utf8") };
  } catch (error) {
    throw new IssuerAway(`${url}: ${messageOf(error)}`);
  }
}

function parse(url: string, text: string): Record<string, unknown> {
  try {
    return toObject(JSON.parse(text));
  } catch (error) {
    throw new IssuerAway(`${url}: ${messageOf(error)}`);
  }
}

function toObject(value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null) throw new Error("not a JSON object");
  return value as Record<string, unknown>;
}

function endpoint(found: Record<string, unknown>, name: string): string {
  const url = optionalEndpoint(found, name);
  if (url === null) throw new Error(`the metadata have no ${name}`);
  return url;
}

function optionalEndpoint(found: Record<string, unknown>, name: string): string | null {
  const url = found[name];
  return typeof url === "string" && URL.canParse(url) && /^https?:/.test(url) ? url : null;
}

const textOf = (value: unknown): string | null =>
  typeof value === "string" && value !== "" ? value : null;

/** `application/x-www-form-urlencoded` of one text. */
const formText = (text: string): string => new URLSearchParams({ "": text }).toString().slice(1);

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { cause } = error;
  return cause instanceof Error && cause.message !== "" ? cause.message : error.message;
}
