/** The schema of a policy: timeouts, retries, balancing, ejection. */

import { z } from "zod";
import { grpcRetryNames } from "../../policies/retry.ts";
import { didYouMean } from "../suggest.ts";
import { choice, duration, name, notYet, number, rate, refuse, show, whole } from "./scalars.ts";

const retryWords = [
  "connect-failure",
  "reset-before-response",
  "refused-stream",
  "attempt-timeout",
] as const;
/** gRPC codes, as `policies/retry.ts` knows them. */
const grpcWords = Object.values(grpcRetryNames);
const retryExpected = `${retryWords.join(", ")}, a status from 400 to 599, or a gRPC code (${grpcWords.join(", ")})`;

const retryOn = z
  .union([z.string(), z.number()], { error: retryExpected })
  .transform((value, ctx): string => {
    const word = String(value);
    if (/^[45]\d\d$/.test(word) || (retryWords as readonly string[]).includes(word)) return word;
    if (grpcWords.includes(word)) return word;
    return refuse(ctx, `${show(value)} is not a reason to retry`, {
      expected: retryExpected,
      suggestion: didYouMean(word, [...retryWords, ...grpcWords]),
    });
  })
  .meta({ examples: [...retryWords, 503, "unavailable"] });

const retry = z
  .strictObject({
    attempts: whole(0, 10).optional().meta({
      description:
        "Tries beyond the first; 0 turns retries off. Default: 1 in a gateway, 2 in a mesh.",
    }),
    on: z.array(retryOn, { error: "a list of reasons" }).optional().meta({
      description:
        "What is tried again, when that is safe (nothing was sent, or the method is idempotent, or there is an idempotency-key; and the body can be replayed). A gRPC code is that of an answer of trailers only. Default: connect-failure, reset-before-response, refused-stream, 502, 503, 504.",
    }),
    backoff: z
      .strictObject({
        base: duration()
          .optional()
          .meta({ description: "Before the first retry, at most; full jitter. Default: 25ms." }),
        max: duration()
          .optional()
          .meta({ description: "Before any retry, at most. Default: 250ms." }),
      })
      .optional()
      .meta({ description: "How long to wait between tries; doubles each time." }),
    budget: z
      .strictObject({
        percent: number(0, 100)
          .optional()
          .meta({ description: "Retries may be this share of requests. Default: 20." }),
        floor: rate()
          .optional()
          .meta({ description: "Retries that are always allowed. Default: 10/s." }),
      })
      .optional()
      .meta({ description: "Keeps retries from multiplying an outage." }),
  })
  .meta({ description: "When a failed try is made again, on another endpoint." });

/** A policy as written: every key is optional; what is left out comes from the next one out (route, service, `default`). */
export const policySchema = z
  .strictObject({
    timeout: duration().optional().meta({
      description:
        "From the end of the request to the head of the answer, retries included. 0: none. Default: 15s.",
    }),
    totalTimeout: duration()
      .optional()
      .meta({ description: "The whole exchange, bodies included. Default: none." }),
    attemptTimeout: duration()
      .optional()
      .meta({ description: "One try, to the head of the answer. Default: none." }),
    connectTimeout: duration()
      .optional()
      .meta({ description: "To a connected endpoint, TLS included. Default: 5s." }),
    idleTimeout: duration().optional().meta({
      description: "No byte in either direction for this long ends the exchange. Default: 5m.",
    }),
    retry: retry.optional(),
    hedge: notYet(z.union([z.literal("off"), z.strictObject({ after: z.string() })])).meta({
      description: "A second try when the first is slow.",
    }),
    balance: choice(["ewma", "round-robin"], ["least-request", "random", "ring-hash", "maglev"])
      .optional()
      .meta({
        description: "How an endpoint is chosen. Default: ewma (peak EWMA, power of two choices).",
      }),
    hash: notYet(
      z.union([
        z.literal("client"),
        z.strictObject({ header: z.string().optional(), cookie: z.string().optional() }),
      ]),
    ).meta({
      description: "What ring-hash and maglev hash.",
    }),
    breaker: notYet(
      z.strictObject({
        connections: z.int().optional(),
        pending: z.int().optional(),
        requests: z.int().optional(),
      }),
    ).meta({ description: "Upper bounds to a service, over all workers." }),
    ejection: z
      .strictObject({
        consecutive: whole(1, 10_000)
          .optional()
          .meta({ description: "Failures in a row that eject an endpoint. Default: 5." }),
        successBelowPct: notYet(z.number()).meta({
          description: "A success rate below this ejects.",
        }),
        minRequests: notYet(z.int()).meta({
          description: "Requests in the window before the rate counts.",
        }),
        window: notYet(z.string()).meta({ description: "The window of the success rate." }),
        base: duration({ minMs: 1 }).optional().meta({
          description: "The first ejection lasts this long; doubles each time. Default: 1s.",
        }),
        max: duration({ minMs: 1 })
          .optional()
          .meta({ description: "The longest ejection. Default: 60s." }),
        maxEjectedPct: number(0, 100).optional().meta({
          description: "At most this share of the endpoints is out at once. Default: 50.",
        }),
      })
      .optional()
      .meta({ description: "Takes an endpoint that keeps failing out for a while." }),
    concurrency: notYet(z.union([z.literal("adaptive"), z.int()])).meta({
      description: "Requests at once.",
    }),
    fault: notYet(
      z.strictObject({
        delay: z.strictObject({ percent: z.number(), for: z.string() }).optional(),
        abort: z.strictObject({ percent: z.number(), status: z.int() }).optional(),
      }),
    ).meta({ description: "Faults on purpose, to test callers." }),
  })
  .meta({ description: "Timeouts, retries, balancing and ejection." });

/** A name from `policies:`, or a policy written in place. */
export const policyUse = z
  .union([name("the name of a policy"), policySchema], {
    error: "the name of a policy, or a mapping such as { timeout: 5s }",
  })
  .meta({
    description:
      "A name from `policies:`, or a policy written here. Merged: default <- service <- route.",
  });

export const policiesSchema = z
  .record(name("the name of a policy"), policySchema, { error: "a mapping of names to policies" })
  .meta({ description: "Named policies. `default` holds for every service and route." });
