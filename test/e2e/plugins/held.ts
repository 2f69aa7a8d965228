/** A plugin that takes its time over every request. */

import { setImmediate as turn } from "node:timers/promises";
import { definePlugin } from "weft/plugin";

export default definePlugin({
  name: "held",
  stage: "authn",
  setup: () => ({
    async request() {
      for (let i = 0; i < 20; i++) await turn();
    },
  }),
});
