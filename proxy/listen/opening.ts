/** A connection that is not served yet: its time limit, and the answer to plain text where TLS is spoken. */

import type net from "node:net";
import { Timed, type Wheel } from "../clock.ts";
import { errorDocs } from "../http/respond.ts";

/** From the accepted socket to the end of the TLS handshake. */
export const handshakeLimitMs = 10_000;
/** How long a refused connection may take to read the answer. */
const lingerMs = 1_000;

/** Ends a connection that does not get anywhere. */
export class Opening extends Timed {
  doing = "the PROXY header or the first byte";
  private readonly onLate: (detail: string) => void;

  constructor(onLate: (detail: string) => void) {
    super();
    this.onLate = onLate;
  }

  override onDue(): void {
    this.onLate(`${this.doing} took longer than ${handshakeLimitMs} ms`);
  }
}

/** Answers in plain text, and waits a moment for the caller to read it. */
export function refusePlainText(
  raw: net.Socket,
  env: { readonly wheel: Wheel; now(): number },
): void {
  raw.end(plainTextAnswer, "latin1");
  // what the caller still sends is read and dropped: an unread byte would turn our FIN into a reset
  raw.resume();
  const linger = new Opening(() => raw.destroy());
  env.wheel.arm(linger, env.now() + lingerMs);
  raw.once("close", () => env.wheel.disarm(linger));
  raw.once("end", () => raw.destroySoon());
}

const plainTextBody = JSON.stringify({
  type: `${errorDocs}bad-request`,
  title: "Bad request",
  status: 400,
  detail: "plain HTTP on a TLS port: use https",
  code: "bad-request",
});

const plainTextAnswer =
  "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\n" +
  `content-length: ${plainTextBody.length}\r\nproxy-status: weft; error=http_request_error\r\nconnection: close\r\n\r\n${plainTextBody}`;
