/** Where peers' sidecars come in: mTLS, and plain text only while a mesh is being rolled out. */

import type { ListenerSpec } from "../../proxy/listen/listener.ts";
import type { MeshIdentity } from "../identity.ts";

/** The listener's name in logs and metrics. */
export const inboundName = "inbound";

/**
 * @param mtls `strict`: TLS 1.3 with a verified peer, nothing else; `permissive`: plain text too, as nobody (no peer)
 */
export function inboundListener(
  address: { readonly host: string; readonly port: number },
  identity: MeshIdentity,
  mtls: "strict" | "permissive",
): ListenerSpec {
  return {
    name: inboundName,
    host: address.host,
    port: address.port,
    tls: identity,
    proxyProtocol: false,
    plainText: mtls === "permissive" ? "serve" : "refuse",
    reusePort: true,
  };
}
