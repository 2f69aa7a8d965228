/** Opens the admin API's socket on the main thread. */

import type { AddressInfo } from "node:net";
import { createServer, type Server } from "node:http";
import { createAdaptorServer } from "@hono/node-server";
import type { Hono } from "hono";

/** A listening admin API. */
export interface AdminServer {
  /** `host:port` as bound. */
  readonly address: string;
  readonly port: number;
  /** Stops listening at once; running answers end on their own. */
  release(): void;
  /** Stops listening, lets running answers end, drops idle connections. */
  close(): Promise<void>;
}

/**
 * Listens on `host:port` (0 picks a free port).
 * @throws the error of `listen` (`EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`), so that the caller can name the port
 */
export async function listenAdmin(
  app: Hono,
  at: { readonly host: string; readonly port: number },
): Promise<AdminServer> {
  const server = createAdaptorServer({
    fetch: app.fetch,
    createServer,
    serverOptions: {
      maxHeaderSize: 16 * 1024,
      requestTimeout: 30_000,
      headersTimeout: 10_000,
      keepAliveTimeout: 15_000,
    },
    overrideGlobalObjects: false,
  }) as Server;
  server.maxConnections = 256;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(at.port, at.host, () => {
      server.off("error", reject);
      resolve();
    });
  });
  // An accept that fails later (EMFILE) concerns that connection, not the process.
  server.on("error", () => {});
  const bound = server.address() as AddressInfo;
  return {
    address:
      bound.family === "IPv6"
        ? `[${bound.address}]:${bound.port}`
        : `${bound.address}:${bound.port}`,
    port: bound.port,
    release: () => {
      server.close();
      server.closeIdleConnections();
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeIdleConnections();
      }),
  };
}
