/** What plugins keep in an exchange. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Exchange } from "../../proxy/exchange.ts";
import type { ConnectionInfo, ServeEnv } from "../../proxy/exchange.ts";
import { RequestHead } from "../../proxy/http/head.ts";
import type { Downstream } from "../../proxy/http/stream.ts";
import { slot } from "../../proxy/pipeline/plugin.ts";

/** Of an environment, what an exchange asks when it begins. */
const env = {
  snapshot: () => ({ use: { enter() {} } }),
  plane: () => ({ unrouted: null }),
  now: () => 1,
  newId: () => "1",
} as unknown as ServeEnv;

function begin(): Exchange {
  return new Exchange(env, {} as Downstream, {} as ConnectionInfo, new RequestHead());
}

test("a slot has what was last put into it, and nothing before", () => {
  const slots = Array.from({ length: 5 }, (_, i) => slot<unknown>(`slot ${i}`));
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(4), fc.anything())), (writes) => {
      const x = begin();
      const model = new Map<number, unknown>();
      for (const [at, value] of writes) {
        x.set(slots[at]!, value);
        model.set(at, value);
        for (const [i, each] of slots.entries()) assert.ok(Object.is(x.get(each), model.get(i)));
      }
    }),
  );
});

test("a slot that is kept in another slot is not taken for itself", () => {
  const x = begin();
  const [inner, outer] = [slot<string>("inner"), slot<unknown>("outer")];
  x.set(outer, inner);
  assert.equal(x.get(inner), undefined);
  x.set(inner, "text");
  assert.equal(x.get(outer), inner);
  assert.equal(x.get(inner), "text");
});
