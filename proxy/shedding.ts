/** What happens to requests while a worker sheds load: 503 at once, before routes and plugins; what runs goes on. */

import { ProxyError } from "./errors.ts";
import type { Flow } from "./exchange.ts";
import { flow } from "./handle.ts";

/** In place of `flow` of handle.ts. */
export const shedding: Flow = {
  ...flow,
  begin(env, downstream, conn, req) {
    // neither its body nor a next request is wanted
    downstream.closeAfter();
    const why = "this proxy is short of memory and takes no new requests for a moment";
    flow.refuse(env, downstream, conn, req, new ProxyError("overloaded", why));
  },
};
