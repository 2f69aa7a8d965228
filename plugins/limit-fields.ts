/** Tells callers about their allowance: RateLimit and RateLimit-Policy of the httpapi draft, and the older x-ratelimit-*. */

import { FieldName } from "../proxy/http/fields.ts";
import type { Fields } from "../proxy/http/fields.ts";
import type { LimitDecision } from "../proxy/pipeline/plugin.ts";

const policyField = new FieldName("ratelimit-policy");
const limitField = new FieldName("ratelimit");
const xLimit = new FieldName("x-ratelimit-limit");
const xRemaining = new FieldName("x-ratelimit-remaining");
const xReset = new FieldName("x-ratelimit-reset");

/** Says what kind of problem a refusal is, for callers who know the registry of problem types but not ours (RFC 6903). */
export const quotaExceeded =
  '<https://iana.org/assignments/http-problem-types#quota-exceeded>; rel="type"';

/** The fields of one policy (draft-ietf-httpapi-ratelimit-headers-10). */
export class LimitFields {
  private readonly name: string;
  private readonly hasOlder: boolean;
  /** Of the last answer: most have the same. */
  private limit = 0;
  private windowSeconds = 0;
  private policy = "";

  /** @param hasOlder also write x-ratelimit-limit, -remaining and -reset */
  constructor(name: string, hasOlder: boolean) {
    this.name = name;
    this.hasOlder = hasOlder;
  }

  /**
   * One field each, which grow by an item per policy on a route. Seconds are rounded up: a caller who waits them is let in.
   * @param windowSeconds the window as callers are told of it
   */
  write(headers: Fields, limit: number, windowSeconds: number, decision: LimitDecision): void {
    const untilMs = decision.allowed ? decision.resetMs : decision.retryAfterMs;
    const seconds = Math.max(decision.allowed ? 0 : 1, Math.ceil(untilMs / 1000));
    if (limit !== this.limit || windowSeconds !== this.windowSeconds) {
      this.limit = limit;
      this.windowSeconds = windowSeconds;
      this.policy = `"${this.name}";q=${limit};w=${windowSeconds}`;
    }
    addItem(headers, policyField, this.policy);
    addItem(headers, limitField, `"${this.name}";r=${decision.remaining};t=${seconds}`);
    if (!this.hasOlder) return;
    headers.set(xLimit, String(limit));
    headers.set(xRemaining, String(decision.remaining));
    headers.set(xReset, String(seconds));
  }
}

/** Adds an item to a list that is one line. */
export function addItem(headers: Fields, field: FieldName, item: string): void {
  const before = headers.get(field);
  if (before === undefined) headers.append(field, item);
  else headers.set(field, `${before}, ${item}`);
}

/**
 * Seconds for Retry-After: never before the caller would be let in, and up to a tenth later, so that those who were
 * refused together do not come back together.
 * @param random 0 <= x < 1
 */
export function retryAfter(afterMs: number, random: number): number {
  const seconds = Math.max(1, Math.ceil(afterMs / 1000));
  return seconds + Math.floor(random * (1 + Math.min(seconds * 0.1, 60)));
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
