/** What a sidecar believes: its own app's forwarding headers, and a peer's, because it has proved who it is. */

import type { ConnectionInfo, HeaderTrust } from "../proxy/exchange.ts";
import { Kind } from "../proxy/http/fields.ts";
import type { RequestHead } from "../proxy/http/head.ts";

const consumerField = "x-weft-consumer";

function dropWeft(): Uint8Array {
  const drop = new Uint8Array(32);
  drop[Kind.weft] = 1;
  return drop;
}

/** The app's own calls: X-Forwarded-For and deadlines are passed on; `x-weft-*` is not the app's to write. */
export function outboundTrust(): HeaderTrust {
  return {
    drop: dropWeft(),
    dropUnderscore: false,
    honourControl: () => true,
    clientAddress: (_req, socketAddress) => socketAddress,
    lines: () => "",
  };
}

/**
 * Calls from peers: the app sees `x-weft-peer` with the verified caller, and the consumer that a peer's plugin found.
 * Deadlines and request ids are honoured from verified peers only.
 */
export function inboundTrust(): HeaderTrust {
  return {
    drop: dropWeft(),
    dropUnderscore: false,
    honourControl: (peer) => peer !== null,
    clientAddress: (_req, socketAddress) => socketAddress,
    lines: inboundLines,
  };
}

function inboundLines(req: RequestHead, conn: ConnectionInfo): string {
  if (conn.peer === null) return "";
  const line = `x-weft-peer: ${conn.peer.id}\r\n`;
  const { headers } = req;
  for (let i = 0; i < headers.count; i++) {
    if (
      headers.kinds[i] === Kind.weft &&
      headers.nameIs(i, consumerField) &&
      !headers.isReplaced(consumerField)
    ) {
      return `${line}${consumerField}: ${headers.valueAt(i)}\r\n`;
    }
  }
  return line;
}
