/** The pool that hangs off an endpoint, made at its first request. */

import type { ServeEnv } from "../exchange.ts";
import type { Endpoint } from "../service/endpoint.ts";
import { Http2Pool } from "./http2-pool.ts";
import { Pool, type PoolEnv, type UpstreamPool } from "./pool.ts";

export function poolOf(endpoint: Endpoint, env: ServeEnv): UpstreamPool {
  return (endpoint.pool ??= createPool(endpoint, env)) as UpstreamPool;
}

/** The endpoint is gone from the configuration: what is idle closes now, the rest when it is done. */
export function closePool(endpoint: Endpoint): void {
  (endpoint.pool as UpstreamPool | null)?.close();
  endpoint.pool = null;
}

function createPool(endpoint: Endpoint, env: ServeEnv): UpstreamPool {
  const { address, target } = endpoint;
  const poolEnv: PoolEnv = {
    wheel: env.wheel,
    dial: env.dial,
    now: () => env.now(),
    countConnection: (delta) => env.metrics.connection("upstream", delta),
  };
  const protocol = target.protocol ?? "http1";
  return protocol === "http1" || protocol === "tcp"
    ? new Pool(poolEnv, address)
    : new Http2Pool(poolEnv, address, protocol);
}
