/** Which protocol a connection speaks: by ALPN where there is TLS, by its first bytes where there is none. */

import type { ConnectionInfo, ServeEnv } from "./exchange.ts";
import { serveHttp1 } from "./http1/server.ts";
import { serveHttp2 } from "./http2/server.ts";
import type { Served } from "./listen/listener.ts";
import type { Transport } from "./listen/transport.ts";

/** Serves HTTP on an accepted connection. */
export function serveHttp(transport: Transport, conn: ConnectionInfo, env: ServeEnv): Served {
  const { tls } = conn.client;
  if (tls === null) return serveHttp1(transport, conn, env, serveHttp2);
  return tls.alpn === "h2" ? serveHttp2(transport, conn, env) : serveHttp1(transport, conn, env);
}
