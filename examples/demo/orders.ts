/** The demo's orders; runs twice, so that an answer says which instance gave it. */

import { serve } from "./sample.ts";

serve("orders", {
  "/orders": (self) => ({
    status: 200,
    body: {
      ...self,
      orders: [
        { id: 1, item: "warp beam" },
        { id: 2, item: "shuttle" },
      ],
    },
  }),
});
