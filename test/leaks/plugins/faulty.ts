/** A plugin that throws in one hook, and is asynchronous in all that may be. */

import { setImmediate as turn } from "node:timers/promises";
import { definePlugin } from "weft/plugin";
import { z } from "zod";

export default definePlugin({
  name: "faulty",
  stage: "transform",
  // each hook throws in many instances: one that keeps throwing is not called for a while
  config: z.object({ hook: z.string(), n: z.number() }),
  setup({ hook: faulty }) {
    const fault = (hook: string): undefined => {
      if (hook === faulty) throw new Error(`thrown by ${hook}`);
    };
    const late = async (hook: string): Promise<undefined> => {
      await turn();
      return fault(hook);
    };
    return {
      request: () => late("request"),
      requestBody: (_chunk: Uint8Array) => late("requestBody"),
      attempt: () => fault("attempt"),
      response: () => late("response"),
      responseBody: (_chunk: Uint8Array) => late("responseBody"),
      done: () => fault("done"),
    };
  },
});
