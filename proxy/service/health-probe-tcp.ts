/** One health check of a service that speaks no HTTP: whether a connection, TLS included, can be made. */

import type { Dial } from "../exchange.ts";
import { ownProxyHeader, type ProxyHeaderVersion } from "../listen/proxy-header.ts";
import type { DialTarget } from "../upstream/connect.ts";

export interface TcpProbeOptions {
  /** To the open connection. */
  readonly timeoutMs: number;
  readonly dial: Dial;
  /** Says that nobody has called but weft itself. Null: the service expects no header. */
  readonly proxyProtocol: ProxyHeaderVersion | null;
}

/** Asks once. Parameters and result as `probeHttp`. */
export function probeTcp(
  target: DialTarget,
  { timeoutMs, dial, proxyProtocol }: TcpProbeOptions,
  done: (healthy: boolean, reason: string) => void,
): () => void {
  let over = false;
  const preface = proxyProtocol === null ? null : ownProxyHeader(proxyProtocol);
  const dialling = dial(target, { timeoutMs, preface }, (error, transport) => {
    transport?.destroy();
    // the dialler may answer inside its call
    queueMicrotask(() => {
      if (over) return;
      over = true;
      const place = `${target.host}:${target.port}`;
      done(transport !== null, error?.message ?? `${place}: connected`);
    });
  });
  return () => {
    over = true;
    dialling.cancel();
  };
}
