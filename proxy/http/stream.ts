/** How a protocol (HTTP/1.1 now, HTTP/2 by the same interfaces) and an exchange talk to each other, on both sides. */

import type { ProxyError } from "../errors.ts";
import type { ByteStream } from "../listen/transport.ts";
import type { Fields } from "./fields.ts";
import type { RequestHead, ResponseHead } from "./head.ts";

/** What a tunnel of bytes needs of either side: a connection, or one stream of a connection of HTTP/2. */
export interface TunnelEnd extends ByteStream {
  /** Closes so that the other side cannot take the cut for the end of the data. */
  reset(): void;
}

/** A caller's connection, or stream, that has become a tunnel. */
export interface TakenOver {
  readonly transport: TunnelEnd;
  /** Bytes read beyond the head. */
  readonly rest: Buffer;
  /** The caller had sent its last byte before: the transport does not say so again. */
  readonly hasEnded: boolean;
}

/** The exchange, as the protocol that serves the caller sees it. */
export interface RequestSink {
  /** Body bytes, valid only during the call. */
  onRequestData(chunk: Buffer): void;
  /** @param trailers lines ended by CRLF, or empty */
  onRequestEnd(trailers: string): void;
  /** The body is malformed or too slow: answer with this if nothing was answered yet. */
  onRequestError(error: ProxyError): void;
  /** The caller is gone: nobody will read an answer. */
  onCallerGone(error: Error | null): void;
  /** The caller reads again. */
  onCallerReady(): void;
  /** All bytes of this turn have been handed over. */
  onTurnEnd(): void;
}

/** The caller's side, as the exchange sees it. One answer per downstream. */
export interface Downstream {
  /** Says who reads this request; called once per request, before anything else. */
  attach(sink: RequestSink): void;
  /** Sends a 1xx head; does nothing for a caller of HTTP/1.0, who would not understand it. */
  sendInformational(head: ResponseHead): void;
  /**
   * Sends the final head; it may be held back until the first body bytes or {@link flush}.
   * The framing of the answer is decided here from `head.framing`.
   * @param extra lines that weft adds, each ended by CRLF
   */
  sendHead(head: ResponseHead, extra: string): void;
  /** Bytes are copied or written before it returns. False: stop until `onCallerReady`. */
  sendData(chunk: Buffer): boolean;
  /** @param trailers lines ended by CRLF, or empty */
  sendEnd(trailers: string): void;
  /** Writes what is held back. */
  flush(): void;
  /** Ends an answer that cannot be completed so that the caller sees the cut. */
  abort(): void;
  /** Stops and restarts the flow of request body bytes. */
  pause(): void;
  resume(): void;
  /** The answer is the last one on this connection. */
  closeAfter(): void;
  /** Hands out the bare connection, or stream, for a tunnel; null when it cannot become one. */
  takeOver(): TakenOver | null;
}

/** A request as it goes to an endpoint. */
export interface OutgoingRequest {
  /** Method and framing. */
  readonly req: RequestHead;
  /** Fields of the request, or of this try. */
  readonly fields: Fields;
  /** Origin form, already rewritten. */
  readonly target: string;
  readonly authority: string;
  /** Per `Kind`: 1 = not forwarded. */
  readonly drop: Uint8Array;
  /** Lines that weft adds, each ended by CRLF. */
  readonly extra: string;
}

/** A request under way to an endpoint, as the exchange sees it. */
export interface UpstreamStream {
  /** True when an earlier request used the connection: its endpoint may be closing it at this moment. */
  readonly isReused: boolean;
  /** True when the endpoint can say that it did nothing with a request whose bytes it has got: the body is kept for that. */
  readonly mayRefuse: boolean;
  /** Starts the request, once; its body follows by {@link write} and {@link end} unless its framing is `none`. */
  send(sink: ResponseSink, request: OutgoingRequest): void;
  /** False: stop until `onUpstreamReady`. Bytes are copied or written before it returns. */
  write(chunk: Buffer): boolean;
  end(trailers: string): void;
  flush(): void;
  /** Gives the request up; the connection is not reused. Nothing is reported afterwards. */
  cancel(): void;
  pause(): void;
  resume(): void;
}

/** What comes back from an endpoint. */
export interface ResponseSink {
  onInformational(head: ResponseHead): void;
  onHead(head: ResponseHead): void;
  onResponseData(chunk: Buffer): void;
  onResponseEnd(trailers: string): void;
  /**
   * No (complete) answer will come.
   * @param silent true when not one byte of an answer arrived
   */
  onFailure(error: ProxyError, silent: boolean): void;
  onUpstreamReady(): void;
  onTurnEnd(): void;
}
