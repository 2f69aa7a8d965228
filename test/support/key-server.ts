/** An issuer for tests: a real HTTP server with metadata and a key set, and tokens signed by its keys. */

import { once } from "node:events";
import { createServer } from "node:http";
import type { Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { SignJWT, exportJWK, generateKeyPair } from "jose";
import type { CryptoKey, JWK, JWTPayload } from "jose";

/** One signing key of the issuer. */
export interface IssuerKey {
  readonly kid: string;
  readonly alg: string;
  readonly privateKey: CryptoKey;
  readonly publicJwk: JWK;
}

/** A fresh key pair. */
export async function createIssuerKey(kid: string, alg = "RS256"): Promise<IssuerKey> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  return {
    kid,
    alg,
    privateKey,
    publicJwk: { ...(await exportJWK(publicKey)), kid, alg, use: "sig" },
  };
}

/** A token signed by the key; times are seconds since 1970. */
export function signToken(
  key: IssuerKey,
  claims: JWTPayload,
  header: Record<string, unknown> = {},
): Promise<string> {
  return new SignJWT(claims)
    .setProtectedHeader({ alg: key.alg, kid: key.kid, ...header })
    .sign(key.privateKey);
}

/** Serves `/jwks` and `/.well-known/openid-configuration`. */
export class KeyServer {
  keys: readonly IssuerKey[] = [];
  /** Requests for the key set so far. */
  fetches = 0;
  /** Set: answers instead of the key set. */
  respond: ((response: ServerResponse) => void) | null = null;
  private readonly server: Server;

  constructor() {
    this.server = createServer((request, response) => {
      if (request.url === "/.well-known/openid-configuration") {
        response.end(JSON.stringify({ issuer: this.issuer, jwks_uri: this.jwks }));
        return;
      }
      this.fetches++;
      if (this.respond !== null) this.respond(response);
      else response.end(JSON.stringify({ keys: this.keys.map(({ publicJwk }) => publicJwk) }));
    });
  }

  get issuer(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  get jwks(): string {
    return `${this.issuer}/jwks`;
  }

  async listen(): Promise<void> {
    this.server.listen(0, "127.0.0.1");
    await once(this.server, "listening");
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, "close");
  }
}
