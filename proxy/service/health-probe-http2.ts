/** One health check over HTTP/2: a GET, or for gRPC services the standard `grpc.health.v1.Health/Check`. */

import { Wheel } from "../clock.ts";
import { RequestHead, type ResponseHead } from "../http/head.ts";
import type { ResponseSink } from "../http/stream.ts";
import { ClientSession } from "../http2/client.ts";
import type { Transport } from "../listen/transport.ts";

/** The health check of gRPC (grpc.health.v1): chosen by this path. */
export const grpcHealthPath = "/grpc.health.v1.Health/Check";

/** An empty HealthCheckRequest: the server as a whole. */
const ASK_ALL = Buffer.alloc(5);
/** HealthCheckResponse { status: SERVING }. */
const SERVING = "0801";
/** More than any HealthCheckResponse. */
const BODY_BYTES = 64;
const NOTHING_DROPPED = new Uint8Array(256);

/** What is asked. */
export interface Http2Question {
  readonly path: string;
  /** `:authority`. */
  readonly host: string;
  readonly isSecure: boolean;
}

/**
 * Asks on a fresh connection, which it closes in the end.
 * @param done called once: the answer, or why there is none; `settled` is false when the endpoint never spoke HTTP/2
 */
export function askOverHttp2(
  transport: Transport,
  { path, host, isSecure }: Http2Question,
  done: (healthy: boolean, what: string, settled: boolean) => void,
): void {
  const isGrpc = path === grpcHealthPath;
  let settled = false;
  let over = false;
  const end = (healthy: boolean, what: string): void => {
    if (over) return;
    over = true;
    done(healthy, what, settled);
  };
  const owner = {
    onSettled: () => void (settled = true),
    onRoom() {},
    onClosing() {},
    onGone: () => end(false, "closed the connection without an answer"),
    onDue() {},
    // the reason is what the check reports
    onError() {},
  };
  // armed at its end alone: the check has one timer for all else
  const session = new ClientSession(transport, host, isSecure ? "https" : "http", owner, idleWheel);
  const stream = session.open();
  const answer = new HealthAnswer(isGrpc, end);
  const req = new RequestHead();
  req.method = isGrpc ? "POST" : "GET";
  if (isGrpc) {
    req.framing = "chunked";
    req.contentLength = -1;
    req.headers.append("content-type", "application/grpc");
  }
  const extra = `user-agent: weft-health\r\n${isGrpc ? "te: trailers\r\n" : "accept: */*\r\n"}`;
  const fields = req.headers;
  stream.send(answer, { req, fields, target: path, authority: host, drop: NOTHING_DROPPED, extra });
  if (!isGrpc) return;
  stream.write(ASK_ALL);
  stream.end("");
}

const idleWheel = new Wheel();

/** Listens to the answer. */
class HealthAnswer implements ResponseSink {
  private readonly isGrpc: boolean;
  private readonly end: (healthy: boolean, what: string) => void;
  private body = Buffer.alloc(0);
  private grpcStatus: string | undefined;

  constructor(isGrpc: boolean, end: (healthy: boolean, what: string) => void) {
    this.isGrpc = isGrpc;
    this.end = end;
  }

  onInformational(): void {}

  onHead(head: ResponseHead): void {
    this.grpcStatus = head.headers.get("grpc-status");
    if (!this.isGrpc || head.status !== 200)
      this.end(!this.isGrpc && head.status < 400, `answered ${head.status}`);
  }

  onResponseData(chunk: Buffer): void {
    if (this.body.length < BODY_BYTES) this.body = Buffer.concat([this.body, chunk]);
  }

  onResponseEnd(trailers: string): void {
    const status = /^grpc-status: (\d+)\r$/m.exec(trailers)?.[1] ?? this.grpcStatus ?? "none";
    const isServing = status === "0" && this.body.toString("hex", 5, 7) === SERVING;
    const what =
      status === "0"
        ? isServing
          ? "is serving"
          : "is not serving"
        : `answered grpc-status ${status}`;
    this.end(isServing, what);
  }

  onFailure(error: Error): void {
    this.end(false, error.message);
  }

  onUpstreamReady(): void {}

  onTurnEnd(): void {}
}
