/** Verifies one token against keys and rules, in words that can be shown to its bearer. */

import { decodeProtectedHeader, errors, jwtVerify } from "jose";
import { hasDoubleName } from "./json-names.ts";
import { candidates } from "./jwt-keys.ts";
import type { ClaimSet } from "./jwt-claims.ts";
import type { VerifyKey } from "./jwt-keys.ts";
import type { TokenKeys } from "./jwt-sources.ts";

/** The token is refused: `away`: perhaps wrongly, the source of the keys does not answer; `forged`: whatever the time, while the keys are the same. */
export class TokenError extends Error {
  readonly kind: "refused" | "away" | "forged";
  constructor(message: string, kind: TokenError["kind"] = "refused") {
    super(message);
    this.name = "TokenError";
    this.kind = kind;
  }
  get isAway(): boolean {
    return this.kind === "away";
  }
}

export interface TokenRules {
  readonly algorithms: readonly string[];
  readonly issuer: string | string[] | undefined;
  readonly audience: string | string[] | undefined;
  readonly clockSkewMs: number;
  /** Milliseconds since 1970. */
  readonly wallNow: () => number;
}

/** Longer ones are not decoded. */
const maxTokenChars = 16_384;

/** The claims of a good token. Rejects with a {@link TokenError}. */
export async function verifyToken(
  token: string,
  keys: TokenKeys,
  rules: TokenRules,
): Promise<ClaimSet> {
  const { alg, kid } = readHeader(token);
  if (!rules.algorithms.includes(alg))
    throw new TokenError(`the token's algorithm ${alg} is not allowed`);
  let able = candidates(keys.keys, alg, kid);
  if (able.length === 0) {
    const lookUp = keys.lookUp();
    if (lookUp !== null) {
      await lookUp;
      able = candidates(keys.keys, alg, kid);
      if (able.length === 0 && keys.awayReason !== null)
        throw new TokenError("the keys are not at hand", "away");
    }
  }
  if (able.length === 0) throw new TokenError("no key is known for this token");
  for (const { key } of able) {
    const claims = await tryKey(token, key, rules);
    if (claims !== null) return claims;
  }
  throw new TokenError("the token's signature is not valid", "forged");
}

function readHeader(token: string): { alg: string; kid: string | null } {
  if (token.length > maxTokenChars) throw new TokenError("the token is too long");
  try {
    const { alg, kid } = decodeProtectedHeader(token);
    // whoever reads the token behind us might take the other value (RFC 7519 section 4, RFC 7515 section 4)
    if (token.split(".", 2).some(isDouble)) throw new TokenError("the token says a name twice");
    if (typeof alg !== "string") throw new TokenError("the token names no algorithm");
    return {
      alg: /^[\w-]{1,16}$/.test(alg) ? alg : "unknown",
      kid: typeof kid === "string" ? kid : null,
    };
  } catch (error) {
    if (error instanceof TokenError) throw error;
    throw new TokenError("the token cannot be read");
  }
}

function isDouble(part: string): boolean {
  return hasDoubleName(Buffer.from(part, "base64url").toString("utf8"));
}

/** Null: another key may fit. */
async function tryKey(
  token: string,
  key: VerifyKey["key"],
  rules: TokenRules,
): Promise<ClaimSet | null> {
  try {
    const { payload } = await jwtVerify(token, key, {
      algorithms: [...rules.algorithms],
      clockTolerance: rules.clockSkewMs / 1000,
      currentDate: new Date(rules.wallNow()),
      ...(rules.issuer === undefined ? {} : { issuer: rules.issuer }),
      ...(rules.audience === undefined ? {} : { audience: rules.audience }),
    });
    return payload;
  } catch (error) {
    if (error instanceof errors.JWSSignatureVerificationFailed) return null;
    throw new TokenError(reasonOf(error));
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof errors.JWTExpired) return "the token has expired";
  if (error instanceof errors.JWTClaimValidationFailed) {
    switch (error.claim) {
      case "iss":
        return "the token's issuer is not accepted";
      case "aud":
        return "the token's audience is not accepted";
      case "nbf":
        return "the token is not valid yet";
      default:
        return `the token's claim ${error.claim.replaceAll(/[^\w.-]/g, "")} is not accepted`;
    }
  }
  return "the token cannot be verified";
}
