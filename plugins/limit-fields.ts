/** Tells callers about their allowance: RateLimit and RateLimit-Policy of the httpapi draft, and the older x-ratelimit-*. */

import { FieldName } from "../proxy/http/fields.ts";
import type { Fields } from "../proxy/http/fields.ts";
import type { LimitDecision, LimiterSpec } from "../proxy/pipeline/plugin.ts";

const policyField = new FieldName("ratelimit-policy");
const limitField = new FieldName("ratelimit");
const xLimit = new FieldName("x-ratelimit-limit");
const xRemaining = new FieldName("x-ratelimit-remaining");
const xReset = new FieldName("x-ratelimit-reset");

/** The fields of one policy (draft-ietf-httpapi-ratelimit-headers-10). */
export class LimitFields {
  private readonly name: string;
  private readonly hasOlder: boolean;

  /** @param hasOlder also write x-ratelimit-limit, -remaining and -reset */
  constructor(name: string, hasOlder: boolean) {
    this.name = name;
    this.hasOlder = hasOlder;
  }

  /** Lists grow by one item per policy on a route. Seconds are rounded up: a caller who waits them is let in. */
  write(headers: Fields, spec: LimiterSpec, decision: LimitDecision): void {
    const untilMs = decision.allowed ? decision.resetMs : decision.retryAfterMs;
    const seconds = Math.max(decision.allowed ? 0 : 1, Math.ceil(untilMs / 1000));
    headers.append(
      policyField,
      `"${this.name}";q=${spec.limit};w=${Math.ceil(spec.windowMs / 1000)}`,
    );
    headers.append(limitField, `"${this.name}";r=${decision.remaining};t=${seconds}`);
    if (!this.hasOlder) return;
    headers.set(xLimit, String(spec.limit));
    headers.set(xRemaining, String(decision.remaining));
    headers.set(xReset, String(seconds));
  }
}

/** A window in words: `minute`, `10 seconds`. */
export function windowText(windowMs: number): string {
  const units: readonly (readonly [number, string])[] = [
    [86_400_000, "day"],
    [3_600_000, "hour"],
    [60_000, "minute"],
    [1000, "second"],
  ];
  for (const [unitMs, word] of units) {
    if (windowMs % unitMs === 0)
      return windowMs === unitMs ? word : `${windowMs / unitMs} ${word}s`;
  }
  return `${windowMs} ms`;
}
