/** Request and response heads, the same for HTTP/1.1 and HTTP/2. */

import { Fields } from "./fields.ts";
import { readTarget } from "./target.ts";

/** How a body is delimited; decided once by the parser, written by the serialiser. */
export type BodyFraming = "none" | "length" | "chunked" | "until-close";

/** A request as received. Plugins see it as `req`. */
export class RequestHead {
  method = "";
  /** The request target exactly as received (origin form; absolute form is reduced to it). */
  target = "/";
  /** Path after normalisation, without the query: what routing and plugins match on. */
  path = "/";
  /** With the `?`, or empty. */
  query = "";
  /** Host and optional port as received, lower case. */
  authority = "";
  /** Host without port, lower case, no trailing dot. */
  host = "";
  scheme: "http" | "https" = "http";
  /** 10, 11 or 20. */
  version = 11;
  readonly headers = new Fields();
  framing: BodyFraming = "none";
  /** Bytes; -1 when not known ahead. */
  contentLength = 0;
  /** False when the caller asked for, or needs, `Connection: close`. */
  keepAlive = true;
  /** Token of the Upgrade field when Connection names it, else null. */
  upgrade: string | null = null;
  expectContinue = false;
  /**
   * Replaces path and query; normalised again. In an `early` hook it decides about the route, later only about what is sent.
   * Throws a TypeError on a target that would be refused from a caller.
   */
  rewrite(target: string): void {
    const refusal = readTarget(this, target);
    if (refusal !== null) throw new TypeError(`rewrite to ${JSON.stringify(target)}: ${refusal}`);
  }

  /** True for a gRPC caller (content-type application/grpc*): errors become trailers-only answers. */
  get isGrpc(): boolean {
    const type = this.headers.get("content-type");
    return type !== undefined && type.startsWith("application/grpc");
  }
}

/** A response head. Plugins see it as `res`. */
export class ResponseHead {
  status = 200;
  /** Reason phrase as received; empty: the standard one. */
  reason = "";
  version = 11;
  readonly headers = new Fields();
  framing: BodyFraming = "none";
  /** Bytes; -1 when not known ahead. */
  contentLength = -1;
  keepAlive = true;
  /** What the endpoint says it keeps an idle connection for (`Keep-Alive: timeout=5`), in ms; 0: it does not say. */
  keepAliveMs = 0;
  /** Token of the Upgrade field of a 101. */
  upgrade: string | null = null;
  /** Where it comes from: the service, weft's own error, or a plugin's reply. */
  source: "upstream" | "error" | "reply" = "upstream";
}
