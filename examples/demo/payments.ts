/** The demo's payments. On /forbidden it tries what the mesh does not allow it: to call orders. */

import { call, serve } from "./sample.ts";

serve("payments", {
  "/payments": (self) => ({ status: 200, body: { ...self, payments: [{ order: 1, paid: true }] } }),
  "/forbidden": async (self) => {
    const refusal = await call("orders", "/orders");
    return {
      status: refusal.status,
      body: { ...self, called: "orders", status: refusal.status, answer: refusal.body },
    };
  },
});
