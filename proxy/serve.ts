/** Which protocol a connection speaks: by ALPN where there is TLS, by its first bytes where there is none. */

import type { ConnectionInfo, ServeEnv } from "./exchange.ts";
import { serveHttp1 } from "./http1/server.ts";
import { serveHttp2 } from "./http2/server.ts";
import type { Served } from "./listen/listener.ts";
import { runConnection } from "./pipeline/run.ts";
import type { Transport } from "./listen/transport.ts";

const refused: Served = { drain() {}, destroy() {} };

/** Serves HTTP on an accepted connection, unless a plugin's `connection` hook closes it. */
export function serveHttp(transport: Transport, conn: ConnectionInfo, env: ServeEnv): Served {
  if (runConnection(env.plane(env.snapshot()).unrouted, conn) !== null) {
    transport.destroy();
    return refused;
  }
  const { tls } = conn.client;
  if (tls === null) return serveHttp1(transport, conn, env, serveHttp2);
  return tls.alpn === "h2" ? serveHttp2(transport, conn, env) : serveHttp1(transport, conn, env);
}
