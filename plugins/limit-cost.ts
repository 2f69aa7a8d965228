/** What a request takes from its limit: a number, the value of an expression, or the bytes it turned out to have. */

import { z } from "zod";
import { sizeOption } from "./options.ts";
import type { Ctx, DoneInfo, RequestHead } from "../proxy/pipeline/plugin.ts";

const bytes = sizeOption().refine((size) => size > 0, "a unit has at least one byte");

export const costOption = z.union(
  [
    z.int().min(1),
    z.strictObject({ cel: z.string().min(1) }),
    z.strictObject({ requestBytes: bytes }),
    z.strictObject({ responseBytes: bytes }),
    z.strictObject({ bytes }),
  ],
  'a whole number, { cel: "..." }, { requestBytes: 1KiB }, { responseBytes: 1KiB } or { bytes: 1KiB }',
);
export type CostOption = z.output<typeof costOption>;

export interface Cost {
  /** Taken before the request is let through; at least 1. */
  before(req: RequestHead, ctx: Ctx): number;
  /** Owed at the end besides; null: nothing is ever. */
  readonly after: ((end: DoneInfo) => number) | null;
}

/** The most that an expression may take at once: a mistake in it must not lock a caller out for years. */
const largest = 1_000_000;

/** The expression library is loaded only for `cel`. Rejects when the expression cannot be compiled. */
export async function toCost(option: CostOption): Promise<Cost> {
  if (typeof option === "number") return { before: () => option, after: null };
  if ("cel" in option) {
    const { compileExpression } = await import("../proxy/pipeline/expression.ts");
    const expression = compileExpression(option.cel);
    return {
      before(req, ctx) {
        try {
          const value = Math.ceil(Number(expression.evaluate(req, ctx)));
          return value >= 1 ? Math.min(value, largest) : 1;
        } catch {
          return 1;
        }
      },
      after: null,
    };
  }
  const unit = Object.values(option)[0] as number;
  const sizeOf = (end: DoneInfo): number =>
    "requestBytes" in option
      ? end.requestBytes
      : "responseBytes" in option
        ? end.responseBytes
        : end.requestBytes + end.responseBytes;
  return { before: () => 1, after: (end) => Math.max(0, Math.ceil(sizeOf(end) / unit) - 1) };
}
