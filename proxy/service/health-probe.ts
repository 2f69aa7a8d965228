/** One health check on a connection of its own: a minimal HTTP/1.1 GET, or what an HTTP/2 endpoint understands. */

import type { TLSSocket } from "node:tls";
import type { Dial } from "../exchange.ts";
import type { Transport } from "../listen/transport.ts";
import type { DialTarget } from "../upstream/connect.ts";
import { askOverHttp2 } from "./health-probe-http2.ts";

export interface ProbeOptions {
  readonly path: string;
  /** For all of it: connect, TLS, answer. */
  readonly timeoutMs: number;
  readonly dial: Dial;
}

/** An answer's head longer than this is a failure. */
const HEAD_BYTES = 16 * 1024;

/**
 * Asks once; healthy is a final status from 200 to 399.
 * @param done called once, never inside this call; not after the returned function, which ends the check
 */
export function probeHttp(
  target: DialTarget,
  { path, timeoutMs, dial }: ProbeOptions,
  done: (healthy: boolean, reason: string) => void,
): () => void {
  let transport: Transport | null = null;
  let over = false;
  let head = "";
  const name =
    target.tls?.kind === "tls" && target.tls.serverName !== null
      ? target.tls.serverName
      : target.host;
  const host = `${name.includes(":") ? `[${name}]` : name}:${target.port}`;
  const place = `${host}${path}`;

  const stop = (): void => {
    over = true;
    clearTimeout(timer);
    dialling.cancel();
    transport?.destroy();
  };
  const end = (healthy: boolean, reason: string): void => {
    if (over) return;
    stop();
    done(healthy, reason);
  };
  const onData = (chunk: Buffer): void => {
    if (over) return;
    head += chunk.toString("latin1");
    const status = finalStatus(head);
    if (status === "bad") end(false, `${place}: the answer is not HTTP/1.1`);
    else if (status !== null) end(status >= 200 && status < 400, `${place}: answered ${status}`);
    else if (head.length > HEAD_BYTES)
      end(false, `${place}: the head of the answer is over ${HEAD_BYTES} bytes`);
  };
  const timer = setTimeout(
    () => end(false, `${place}: no answer within ${timeoutMs} ms`),
    timeoutMs,
  ).unref();
  let dialling = { cancel(): void {} };
  const connect = (to: DialTarget): void => {
    dialling = dial(to, { timeoutMs }, (error, connected) => connectedTo(to, error, connected));
  };
  const connectedTo = (to: DialTarget, error: Error | null, connected: Transport | null): void => {
    if (connected === null) {
      // the dialler may answer inside its call
      queueMicrotask(() => end(false, error?.message ?? `${place}: no connection`));
      return;
    }
    if (over) {
      connected.destroy();
      return;
    }
    transport = connected;
    const { protocol = "http1", tls } = to;
    const alpn = tls === null ? null : (connected.socket as TLSSocket).alpnProtocol;
    if (protocol === "http2" || (protocol === "auto" && (tls === null || alpn === "h2"))) {
      askOverHttp2(connected, { path, host, isSecure: tls !== null }, (healthy, what, settled) => {
        if (over) return;
        if (settled || protocol === "http2") return end(healthy, `${place}: ${what}`);
        // it hung up on the preface: it speaks HTTP/1.1
        connected.destroy();
        connect({ ...to, protocol: "http1" });
      });
      return;
    }
    connected.handler = {
      onData,
      onEnd: () => end(false, `${place}: closed the connection without an answer`),
      onClose: (cause) =>
        end(false, `${place}: ${cause?.message ?? "closed the connection without an answer"}`),
      onDrain() {},
    };
    connected.write(
      `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nUser-Agent: weft-health\r\nAccept: */*\r\nConnection: close\r\n\r\n`,
    );
    connected.resume();
  };
  connect(target);
  return stop;
}

/** Status of the first head that is not 1xx; null: more to come. */
function finalStatus(text: string): number | "bad" | null {
  let rest = text;
  for (;;) {
    const end = rest.indexOf("\r\n\r\n");
    const line = /^HTTP\/1\.[01] ([1-5]\d\d)(?: [^\r\n]*)?\r\n/.exec(rest);
    if (line === null)
      return rest.includes("\n") || !"HTTP/1.".startsWith(rest.slice(0, 7)) ? "bad" : null;
    if (end === -1) return null;
    const status = Number(line[1]);
    if (status >= 200) return status;
    rest = rest.slice(end + 4);
  }
}
