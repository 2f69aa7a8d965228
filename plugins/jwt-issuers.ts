/** Whose keys verify a token: with several issuers each one's own, so that none can speak for another. */

import { decodeJwt } from "jose";
import { openKeys } from "./jwt-sources.ts";
import type { KeyOptions, TokenKeys } from "./jwt-sources.ts";
import type { Host } from "../proxy/pipeline/plugin.ts";

/** Keys, and the issuers that may have signed with them. */
export interface TokenIssuer {
  readonly keys: TokenKeys;
  readonly issuer: string | string[] | undefined;
}

/** All keys of one plugin instance. */
export interface TokenIssuers {
  /** Counts up when keys change. */
  readonly version: number;
  readonly hasSecret: boolean;
  /** Null: the token names an issuer that is not accepted. Nothing of the token is verified yet. */
  of(token: string): TokenIssuer | null;
  keepFresh(): void;
  close(): void;
}

/** A list of issuers without keys of its own is one place of keys per issuer; else all keys hold for all issuers. */
export async function openIssuers(options: KeyOptions, host: Host): Promise<TokenIssuers> {
  const { issuer, jwks } = options;
  const isShared = jwks !== undefined || (options.keys?.length ?? 0) > 0;
  if (!Array.isArray(issuer) || issuer.length === 1 || isShared) {
    const keys = await openKeys(options, host);
    return new OneSource({ keys, issuer });
  }
  const all = await Promise.all(
    issuer.map(async (one) => ({ issuer: one, keys: await openKeys({ issuer: one }, host) })),
  );
  return new SeveralSources(all);
}

class OneSource implements TokenIssuers {
  private readonly source: TokenIssuer;
  constructor(source: TokenIssuer) {
    this.source = source;
  }
  get version(): number {
    return this.source.keys.version;
  }
  get hasSecret(): boolean {
    return this.source.keys.hasSecret;
  }
  of(): TokenIssuer {
    return this.source;
  }
  keepFresh(): void {
    this.source.keys.keepFresh();
  }
  close(): void {
    this.source.keys.close();
  }
}

class SeveralSources implements TokenIssuers {
  private readonly all: readonly (TokenIssuer & { readonly issuer: string })[];
  readonly hasSecret = false;
  constructor(all: readonly (TokenIssuer & { readonly issuer: string })[]) {
    this.all = all;
  }
  get version(): number {
    let sum = 0;
    for (const { keys } of this.all) sum += keys.version;
    return sum;
  }
  of(token: string): TokenIssuer | null {
    try {
      const { iss } = decodeJwt(token);
      return this.all.find(({ issuer }) => issuer === iss) ?? null;
    } catch {
      return null;
    }
  }
  keepFresh(): void {
    for (const { keys } of this.all) keys.keepFresh();
  }
  close(): void {
    for (const { keys } of this.all) keys.close();
  }
}
