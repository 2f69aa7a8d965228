/** Reads the body of `POST /explain`. */

import { z } from "zod";
import type { Question } from "../explain.ts";

const schema = z.object({
  method: z
    .string()
    .regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$/, "must be an HTTP method")
    .default("GET"),
  url: z
    .string()
    .min(1)
    .max(64 * 1024),
  headers: z
    .record(
      z.string(),
      z.union([z.string(), z.array(z.string()).transform((all) => all.join(", "))]),
    )
    .default({}),
});

/** The question, or what is wrong with it. */
export function readQuestion(text: string): Question | string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return 'the body must be JSON: { "method": "GET", "url": "http://host/path", "headers": {} }';
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  return `${issue?.path.join(".") || "the body"}: ${issue?.message ?? "is not a question"}`;
}
