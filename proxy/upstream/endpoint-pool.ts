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

/** Whether an endpoint takes HTTP/2; null: its service says `auto`, and it has not been asked yet. */
export function speaksHttp2({ pool, target }: Endpoint): boolean | null {
  const protocol = target.protocol ?? "http1";
  if (protocol !== "auto") return protocol === "http2";
  const { learned } = (pool as Http2Pool | null) ?? { learned: null };
  return learned === null ? null : learned === "http2";
}

/**
 * Asks one endpoint after the other until one has told what it speaks, or none is left.
 * @param timeoutMs for a connection to each
 */
export function learnProtocol(
  endpoints: readonly Endpoint[],
  env: ServeEnv,
  timeoutMs: number,
  done: (http2: boolean) => void,
): void {
  const known = endpoints.find((endpoint) => speaksHttp2(endpoint) !== null);
  if (known !== undefined) return done(speaksHttp2(known)!);
  const [first, ...rest] = endpoints;
  if (first === undefined) return done(false);
  const pool = (first.pool ??= createPool(first, env)) as UpstreamPool;
  pool.connect(first.target, timeoutMs, (_error, stream) => {
    stream?.cancel();
    const told = speaksHttp2(first);
    if (told === null) learnProtocol(rest, env, timeoutMs, done);
    else done(told);
  });
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
