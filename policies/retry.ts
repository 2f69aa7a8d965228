/** Decides whether a failed try may be made again: the safe rule of CONTRACT section 5. */

/** Why a try failed, as far as retrying is concerned. */
export type FailureKind =
  | "connect-failure"
  | "reset-before-response"
  | "refused-stream"
  | "attempt-timeout"
  | "status"
  | "grpc-status"
  | "other";

export interface RetryPolicy {
  /** Tries beyond the first; 0: never. */
  readonly attempts: number;
  readonly on: ReadonlySet<string>;
  readonly backoffBaseMs: number;
  readonly backoffMaxMs: number;
  readonly budgetPct: number;
  readonly budgetFloorPerS: number;
}

/** What is known about the try that failed. */
export interface FailedTry {
  readonly kind: FailureKind;
  /** Of the answer, when kind is `status` (HTTP) or `grpc-status`; else 0. */
  readonly status: number;
  /** Tries made so far, this one included. */
  readonly tries: number;
  readonly method: string;
  readonly hasIdempotencyKey: boolean;
  /** No byte of the request left for the upstream (or it said so: refused stream). */
  readonly nothingSent: boolean;
  /** The whole body, as far as it came, is still at hand. */
  readonly bodyReplayable: boolean;
  /** A byte of the answer went to the caller. */
  readonly responseStarted: boolean;
  readonly nowMs: number;
  /** 0: none. */
  readonly deadlineMs: number;
  /** A plugin's advice; it never overrides safety. */
  readonly advice: "retry" | "fail" | null;
}

/** `retry`, or the reason why not: the label of `weft_retries_denied_total`. `none` means that no retry was wanted. */
export type RetryVerdict =
  | "retry"
  | "none"
  | "attempts"
  | "not-idempotent"
  | "body-not-replayable"
  | "deadline"
  | "response-started";

/** CONTRACT sections 2 and 8; `attempts` is 1 at the edge and 2 in the mesh. */
export const defaultRetry = {
  on: ["connect-failure", "reset-before-response", "refused-stream", "502", "503", "504"],
  backoffBaseMs: 25,
  backoffMaxMs: 250,
  budgetPct: 20,
  budgetFloorPerS: 10,
} as const;

const idempotent = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "QUERY"]);

/** RFC 9110 section 9.2.2; QUERY is safe by its draft. */
export function isIdempotent(method: string): boolean {
  return idempotent.has(method);
}

/**
 * gRPC codes that may be named in `retry.on` (those that gRFC A6 and Envoy allow, and two more), by number.
 * What HTTP would have said with 503 and 504 follows these too.
 */
export const grpcRetryNames: Readonly<Record<number, string>> = {
  1: "cancelled",
  2: "unknown",
  4: "deadline-exceeded",
  8: "resource-exhausted",
  10: "aborted",
  13: "internal",
  14: "unavailable",
};

/** True when the policy names this failure. A try that timed out is a 504 that weft saw coming. */
function isRetried(on: ReadonlySet<string>, kind: FailureKind, status: number): boolean {
  if (kind === "status") return on.has(String(status));
  if (kind === "grpc-status")
    return (
      on.has(grpcRetryNames[status] ?? "") ||
      (status === 14 && on.has("503")) ||
      (status === 4 && on.has("504"))
    );
  return on.has(kind) || (kind === "attempt-timeout" && on.has("504"));
}

/** The budget is asked separately, and only after this says `retry`. */
export function judgeRetry(policy: RetryPolicy, failed: FailedTry): RetryVerdict {
  if (failed.responseStarted) return "response-started";
  if (failed.advice === "fail") return "none";
  const wanted = failed.advice === "retry" || isRetried(policy.on, failed.kind, failed.status);
  if (!wanted || policy.attempts === 0) return "none";
  if (failed.tries > policy.attempts) return "attempts";
  if (!failed.nothingSent && !isIdempotent(failed.method) && !failed.hasIdempotencyKey)
    return "not-idempotent";
  if (!failed.bodyReplayable) return "body-not-replayable";
  if (failed.deadlineMs > 0 && failed.nowMs >= failed.deadlineMs) return "deadline";
  return "retry";
}

/** Full jitter (AWS Architecture Blog, 2015): 0 to base x 2^(n-1), capped. Milliseconds. */
export function backoffMs(policy: RetryPolicy, tries: number, random: number): number {
  return Math.min(policy.backoffMaxMs, policy.backoffBaseMs * 2 ** (tries - 1)) * random;
}
