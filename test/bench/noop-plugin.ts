/** A plugin that does next to nothing: what ten of it cost is the pipeline's own price. */

import { definePlugin } from "weft/plugin";

export default definePlugin({
  name: "noop",
  stage: "transform",
  setup() {
    let seen = 0;
    return {
      request() {
        seen++;
      },
      response() {
        seen++;
      },
    };
  },
});
