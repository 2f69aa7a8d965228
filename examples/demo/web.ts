/** The demo's front: asks orders and payments, each by its name, through the sidecar. */

import { call, serve } from "./sample.ts";

serve("web", {
  "/": async (self) => {
    const [orders, payments] = await Promise.all([
      call("orders", "/orders"),
      call("payments", "/payments"),
    ]);
    const ok = orders.status === 200 && payments.status === 200;
    return {
      status: ok ? 200 : 502,
      body: { ...self, orders: orders.body, payments: payments.body },
    };
  },
});
