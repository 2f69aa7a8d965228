/** A plugin that puts the configuration's number before every piece of an answer: which snapshot a stream lives on. */

import { definePlugin } from "weft/plugin";
import { z } from "zod";

export default definePlugin({
  name: "tag",
  stage: "transform",
  config: z.object({ generation: z.number() }),
  setup({ generation }) {
    let closed = false;
    return {
      responseBody: (chunk: Uint8Array) =>
        Buffer.concat([Buffer.from(`${closed ? "closed" : generation}:`), chunk]),
      close() {
        closed = true;
      },
    };
  },
});
