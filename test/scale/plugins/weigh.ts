/** A plugin that says what its worker weighs after a collection. */

import v8 from "node:v8";
import vm from "node:vm";
import { definePlugin, reply } from "weft/plugin";

/** Bytes that a worker holds. */
export interface Inside {
  /** JavaScript objects of the thread. */
  readonly heapBytes: number;
  /** Outside of that, of all threads: buffers. */
  readonly bufferBytes: number;
}

v8.setFlagsFromString("--expose-gc");
const collect = vm.runInNewContext("gc") as () => void;

export default definePlugin({
  name: "weigh",
  stage: "transform",
  setup: () => ({
    request() {
      collect();
      collect();
      const inside: Inside = {
        heapBytes: v8.getHeapStatistics().used_heap_size,
        bufferBytes: process.memoryUsage().arrayBuffers,
      };
      return reply(200, JSON.stringify(inside), { "content-type": "application/json" });
    },
  }),
});
