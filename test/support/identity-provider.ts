/** A certified OpenID provider on loopback, with its own login pages, and a browser without a screen for them. */

import { once } from "node:events";
import { createServer } from "node:http";
import type { RequestListener, Server } from "node:http";
import type { AddressInfo } from "node:net";
import { generateKeyPair, exportJWK } from "jose";
import type { JWK } from "jose";
import { Provider } from "oidc-provider";
import type { Configuration } from "oidc-provider";

/** The client that weft is to the provider. */
export const clientId = "weft";
export const clientSecret = "a client secret of more than 32 characters";

/** One provider; `redirectUris` and `configuration` may be set before {@link IdentityProvider.open}. */
export class IdentityProvider {
  readonly server: Server;
  /** Requests so far, `METHOD path`. */
  readonly asked: string[] = [];
  /** Set: answers instead of the provider. */
  instead: RequestListener | null = null;
  private provider: RequestListener | null = null;
  private key: JWK | null = null;

  constructor() {
    this.server = createServer((req, res) => {
      this.asked.push(`${req.method} ${req.url!.split("?")[0]}`);
      (this.instead ?? this.provider)!(req, res);
    });
  }

  get issuer(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Starts to listen on a free port. */
  async listen(): Promise<void> {
    const { privateKey } = await generateKeyPair("ES256", { extractable: true });
    this.key = await exportJWK(privateKey);
    this.server.listen(0, "127.0.0.1");
    await once(this.server, "listening");
  }

  /** @param redirectUris where browsers may be sent back to */
  open(redirectUris: readonly string[], more: Configuration = {}): void {
    const provider = new Provider(this.issuer, {
      clients: [
        {
          client_id: clientId,
          client_secret: clientSecret,
          redirect_uris: [...redirectUris],
          post_logout_redirect_uris: redirectUris.map((uri) => new URL("/", uri).href),
          grant_types: ["authorization_code", "refresh_token"],
          response_types: ["code"],
          id_token_signed_response_alg: "ES256",
        },
      ],
      jwks: { keys: [{ ...this.key!, kid: "k1", alg: "ES256", use: "sig" } as never] },
      cookies: { keys: ["a key for the provider's own cookies"] },
      pkce: { required: () => true },
      claims: { openid: ["sub"], email: ["email"] },
      findAccount: (_ctx, id) => ({
        accountId: id,
        claims: () => ({ sub: id, email: `${id}@example.com` }),
      }),
      features: { revocation: { enabled: true } },
      issueRefreshToken: () => true,
      rotateRefreshToken: true,
      ...more,
    });
    this.provider = provider.callback();
  }

  async close(): Promise<void> {
    if (!this.server.listening) return;
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, "close");
  }
}

/** Walks through the provider's pages as a visitor called `user`; the URL that the provider sends the browser back to. */
export async function logIn(location: string, user: string): Promise<string> {
  const jar = new Map<string, string>();
  const { origin } = new URL(location);
  let url = location;
  let init: RequestInit = {};
  for (let step = 0; step < 12; step++) {
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join("; ");
    const answer = await fetch(url, {
      ...init,
      redirect: "manual",
      headers: { ...init.headers, cookie, accept: "text/html" },
    });
    for (const line of answer.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line)!;
      jar.set(name!, value!);
    }
    const page = await answer.text();
    const next = answer.headers.get("location");
    if (next !== null) {
      url = new URL(next, url).href;
      init = {};
      if (!url.startsWith(`${origin}/`)) return url;
      continue;
    }
    const action = /<form[^>]*action="([^"]+)"/.exec(page)?.[1];
    const prompt = /name="prompt" value="(\w+)"/.exec(page)?.[1];
    if (action === undefined || prompt === undefined)
      throw new Error(`${answer.status} ${url}: ${page.slice(0, 400)}`);
    url = new URL(action, url).href;
    const form = new URLSearchParams({ prompt, login: user, password: "x" });
    init = { method: "POST", body: form };
  }
  throw new Error("the provider asks and asks");
}
