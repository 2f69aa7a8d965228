/** Where the app's own calls come in: plain HTTP, on loopback as a rule, to any host that is a service's name. */

import type { ListenerSpec } from "../../proxy/listen/listener.ts";

/** The listener's name in logs and metrics. */
export const outboundName = "outbound";

/** The app is trusted to be the app: whoever reaches this address calls with our identity, so it belongs on loopback. */
export function outboundListener(address: {
  readonly host: string;
  readonly port: number;
}): ListenerSpec {
  return {
    name: outboundName,
    host: address.host,
    port: address.port,
    tls: null,
    proxyProtocol: false,
    plainText: "refuse",
    reusePort: true,
  };
}
