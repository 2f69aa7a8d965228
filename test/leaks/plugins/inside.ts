/** A plugin that tells what its worker holds: live objects of the data path, armed timers, memory after a collection. */

import { setImmediate as turn } from "node:timers/promises";
import v8 from "node:v8";
import vm from "node:vm";
import { definePlugin, reply } from "weft/plugin";
import { Timed, Wheel } from "../../../proxy/clock.ts";
import { Transport } from "../../../proxy/listen/transport.ts";
import { BodyTransform } from "../../../proxy/pipeline/body.ts";

/** What a worker holds. Objects are those of all threads. */
export interface Inside {
  readonly objects: Readonly<Record<string, number>>;
  /** Entries in the timer wheel. */
  readonly timers: number;
  /** Bytes of this thread's JavaScript objects, after a collection. */
  readonly heapBytes: number;
  /** Bytes of all threads outside of that: buffers. */
  readonly bufferBytes: number;
  /** What keeps the thread's event loop alive, by Node's word for it. */
  readonly resources: Readonly<Record<string, number>>;
}

/** Exchanges, tries, connections of both sides and calls under way are all {@link Timed}. Each count walks the heap. */
const counted = { BodyTransform, Timed, Transport };

v8.setFlagsFromString("--expose-gc");
const collect = vm.runInNewContext("gc") as () => void;

/** The thread's wheel, which shows itself at its next turn. */
const wheel = new Promise<Wheel>((resolve) => {
  const { advance } = Wheel.prototype;
  Wheel.prototype.advance = function (nowMs: number): void {
    Wheel.prototype.advance = advance;
    resolve(this);
    advance.call(this, nowMs);
  };
});

export default definePlugin({
  name: "inside",
  stage: "transform",
  modes: ["gateway", "mesh-outbound", "mesh-inbound"],
  setup: () => ({
    async request() {
      for (let i = 0; i < 3; i++) {
        collect();
        await turn();
      }
      const objects: Record<string, number> = {};
      for (const [name, type] of Object.entries(counted)) {
        objects[name] = v8.queryObjects(type, { format: "count" }) as unknown as number;
      }
      const resources: Record<string, number> = {};
      for (const kind of process.getActiveResourcesInfo())
        resources[kind] = (resources[kind] ?? 0) + 1;
      const inside: Inside = {
        objects,
        timers: (await wheel).size,
        heapBytes: v8.getHeapStatistics().used_heap_size,
        bufferBytes: process.memoryUsage().arrayBuffers,
        resources,
      };
      return reply(200, JSON.stringify(inside), { "content-type": "application/json" });
    },
  }),
});
