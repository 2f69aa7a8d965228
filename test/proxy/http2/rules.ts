/** Rules that a caller can break, as raw frames: each over TLS and in the clear; what was broken must be counted and logged. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { errorName, readUint32 } from "../../../proxy/http2/frames.ts";
import { eventually } from "../../support/eventually.ts";
import { FrameType, type FrameClient } from "./frame-client.ts";
import type { Serving } from "./serving.ts";

/** What is done, and what must come of it. */
export type Steps = (client: FrameClient) => void | Promise<void>;

/** A sentence that begins with its section, and the steps. */
export type Rule = readonly [name: string, steps: Steps];

/** Runs each rule on a connection of its own, on both listeners. */
export function onBothListeners(serving: () => Serving, rules: readonly Rule[]): void {
  for (const secure of [false, true])
    describe(secure ? "over TLS" : "in the clear", () => {
      for (const [name, steps] of rules)
        test(name, async () => {
          const { gateway } = serving();
          const before = await errorCounts(serving());
          const written = gateway.stdout.length + gateway.stderr.length;
          using client = await serving().connect({ secure });
          await steps(client);
          const error = errorTold(client);
          if (error === null) return assert.deepEqual(await errorCounts(serving()), before);
          const known = before.get(error) ?? 0;
          await eventually(
            `${error} to be counted`,
            async () => ((await errorCounts(serving())).get(error) ?? 0) > known,
          );
          await eventually(`${error} in the log`, () =>
            (gateway.stdout + gateway.stderr).slice(written).includes(`: ${error}: `),
          );
        });
    });
}

/** Name of the error that weft told the caller; null: none. */
function errorTold(client: FrameClient): string | null {
  for (const { type, payload } of client.frames) {
    if (type !== FrameType.rstStream && type !== FrameType.goaway) continue;
    const code = readUint32(payload, type === FrameType.goaway ? 4 : 0);
    if (code !== 0) return errorName(code);
  }
  return null;
}

/** Errors of callers that have been counted, by name. */
async function errorCounts({ gateway }: Serving): Promise<ReadonlyMap<string, number>> {
  const counts = new Map<string, number>();
  const line = /^weft_protocol_errors_total\{side="downstream",error="(\w+)"\} (\d+)$/gm;
  for (const [, error, count] of (await gateway.ask("/metrics")).matchAll(line))
    counts.set(error!, Number(count));
  return counts;
}
