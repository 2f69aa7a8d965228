/** A WebSocket to an endpoint over HTTP/2: a stream of an extended CONNECT (RFC 8441) as a tunnel sees it. */

import type { ProxyError } from "../errors.ts";
import type { ResponseHead } from "../http/head.ts";
import type { ResponseSink, TunnelEnd } from "../http/stream.ts";
import type { TransportHandler } from "../listen/transport.ts";
import type { ClientStream } from "./client-stream.ts";

/** Who asked for it. Exactly one of both is called, unless the tunnel is reset before. */
export interface ClientTunnelOwner {
  /** The final answer: 2xx is the switch, anything else a refusal whose body follows. Its handler must be set by the end of the call. */
  tunnelAnswered(head: ResponseHead): void;
  tunnelFailed(error: ProxyError): void;
}

const ignored: TransportHandler = { onData() {}, onEnd() {}, onClose() {}, onDrain() {} };

export class ClientTunnel implements TunnelEnd, ResponseSink {
  handler: TransportHandler = ignored;
  private readonly stream: ClientStream;
  private readonly owner: ClientTunnelOwner;
  private hasHead = false;
  private isClosed = false;

  constructor(stream: ClientStream, owner: ClientTunnelOwner) {
    this.stream = stream;
    this.owner = owner;
  }

  // === impl TunnelEnd ===

  write(data: string | Uint8Array): boolean {
    return this.stream.write(
      typeof data === "string"
        ? Buffer.from(data, "latin1")
        : Buffer.from(data.buffer, data.byteOffset, data.byteLength),
    );
  }

  pause(): void {
    this.stream.pause();
  }

  resume(): void {
    this.stream.resume();
  }

  end(): void {
    this.stream.end("");
    this.settle();
  }

  destroy(): void {
    this.reset();
  }

  reset(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.stream.cancel();
  }

  /** Both directions have ended. */
  private settle(): void {
    if (this.isClosed || !this.stream.isOver) return;
    this.isClosed = true;
    this.handler.onClose(null);
  }

  // === impl ResponseSink ===

  onInformational(): void {}

  onHead(head: ResponseHead): void {
    this.hasHead = true;
    this.owner.tunnelAnswered(head);
  }

  onResponseData(chunk: Buffer): void {
    this.handler.onData(chunk);
  }

  onResponseEnd(): void {
    this.handler.onEnd();
    this.settle();
  }

  onFailure(error: ProxyError): void {
    if (this.isClosed) return;
    this.isClosed = true;
    if (this.hasHead) this.handler.onClose(error);
    else this.owner.tunnelFailed(error);
  }

  onUpstreamReady(): void {
    if (this.stream.isOver) this.settle();
    else this.handler.onDrain();
  }

  onTurnEnd(): void {}
}
