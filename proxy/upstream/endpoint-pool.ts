/** The pools that hang off an endpoint, made at their first request. */

import type { ServeEnv } from "../exchange.ts";
import type { RequestHead } from "../http/head.ts";
import type { Endpoint } from "../service/endpoint.ts";
import { Http2Pool } from "./http2-pool.ts";
import { Pool, type PoolEnv, type UpstreamPool } from "./pool.ts";

/**
 * Where a request finds a connection.
 * A sidecar hands gRPC to its app over HTTP/2, by prior knowledge, whatever else the app speaks: gRPC has no other way.
 */
export function poolOf(endpoint: Endpoint, env: ServeEnv, req: RequestHead): UpstreamPool {
  if (env.mode === "mesh-inbound" && req.version === 20 && req.isGrpc)
    return (endpoint.grpcPool ??= new Http2Pool(
      poolEnv(env),
      endpoint.address,
      "http2",
    )) as Http2Pool;
  return (endpoint.pool ??= createPool(endpoint, env)) as UpstreamPool;
}

/** The endpoint is gone from the configuration: what is idle closes now, the rest when it is done. */
export function closePool(endpoint: Endpoint): void {
  (endpoint.pool as UpstreamPool | null)?.close();
  (endpoint.grpcPool as UpstreamPool | null)?.close();
  endpoint.pool = endpoint.grpcPool = null;
}

function createPool(endpoint: Endpoint, env: ServeEnv): UpstreamPool {
  const { address, target } = endpoint;
  const protocol = target.protocol ?? "http1";
  return protocol === "http1" || protocol === "tcp"
    ? new Pool(poolEnv(env), address)
    : new Http2Pool(poolEnv(env), address, protocol);
}

function poolEnv(env: ServeEnv): PoolEnv {
  return {
    wheel: env.wheel,
    dial: env.dial,
    now: () => env.now(),
    countConnection: (delta) => env.metrics.connection("upstream", delta),
    noteProtocolError: (error, why) => {
      env.metrics.protocolError("upstream", error);
      env.log[error === "ENHANCE_YOUR_CALM" ? "warn" : "info"](why, { error });
    },
  };
}
