/** Option types that several plugins share: durations, sizes, rates, field names. */

import { z } from "zod";
import { isFieldValue, isToken } from "../proxy/http/fields.ts";
import { toBytes, toDurationMs, toRate } from "../proxy/pipeline/units.ts";

/** `30s`, or milliseconds; the result is milliseconds. */
export function durationOption() {
  return z.union([z.string(), z.number()]).transform((value, issues) => {
    const ms = toDurationMs(value);
    if (ms === undefined)
      issues.addIssue({
        code: "custom",
        message: `${JSON.stringify(value)} is not a duration such as "250ms", "5s" or "1m"`,
        params: { unit: "duration" },
        input: value,
      });
    return ms ?? 0;
  });
}

/** `64KiB`, or bytes; the result is bytes. */
export function sizeOption() {
  return z.union([z.string(), z.number()]).transform((value, issues) => {
    const bytes = toBytes(value);
    if (bytes === undefined)
      issues.addIssue({
        code: "custom",
        message: `${JSON.stringify(value)} is not a size such as "64KiB" or "1MiB"`,
        params: { unit: "size" },
        input: value,
      });
    return bytes ?? 0;
  });
}

/** `100/min`; the result is the limit and its window in milliseconds. */
export function rateOption() {
  return z.string().transform((value, issues) => {
    const rate = toRate(value);
    if (rate === undefined)
      issues.addIssue({
        code: "custom",
        message: `${JSON.stringify(value)} is not a rate such as "100/min" (s, min, h, day)`,
        params: { unit: "rate" },
        input: value,
      });
    return rate ?? { limit: 1, windowMs: 1000 };
  });
}

const framing = new Set([
  "content-length",
  "transfer-encoding",
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "upgrade",
]);

/** A field name that can be read. */
export function fieldNameOption() {
  return z.string().refine(isToken, "not a field name");
}

/** A field name that a plugin may write: framing is weft's own. */
export function writableNameOption() {
  return fieldNameOption().refine(
    (name) => !framing.has(name.toLowerCase()),
    "this field is written by weft alone: it decides the framing",
  );
}

/** A field value: no control characters, latin1. */
export function fieldValueOption() {
  return z.string().refine(isFieldValue, "has a control character or one above U+00FF");
}

/** What callers and metrics call a limit. */
export function nameOption() {
  return z
    .string()
    .regex(/^[ !#-[\]-~]{1,64}$/, "a name is plain text without quotes")
    .default("default");
}
