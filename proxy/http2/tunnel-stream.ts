/** A stream of a CONNECT (RFC 9113 section 8.5, RFC 8441) as a tunnel sees it: a byte stream whose first bytes are an answer of HTTP/1.1. */

import { ResponseHead } from "../http/head.ts";
import { parseResponseHead, type HeadLimits } from "../http1/head.ts";
import { NEED_MORE, releaseArrays } from "../http1/scan.ts";
import type { TunnelEnd } from "../http/stream.ts";
import type { TransportHandler } from "../listen/transport.ts";

/** The stream, as far as a tunnel needs it. */
export interface TunnelCarrier {
  sendHead(head: ResponseHead, extra: string): void;
  sendTunnelData(chunk: Buffer): boolean;
  endTunnel(): void;
  cutTunnel(): void;
  breakTunnel(): void;
  pause(): void;
  resume(): void;
}

const limits: HeadLimits = { headerBytes: 64 * 1024, headerCount: 200 };

const ignored: TransportHandler = { onData() {}, onEnd() {}, onClose() {}, onDrain() {} };

/** Takes the place of the connection that an upgrade of HTTP/1.1 would take over. */
export class TunnelStream implements TunnelEnd {
  handler: TransportHandler = ignored;
  private readonly carrier: TunnelCarrier;
  /** Bytes of the answer's head; null once it has been sent. */
  private head: Buffer | null = Buffer.alloc(0);
  /** The caller had ended its side before the tunnel stood. */
  private isEndDue: boolean;

  constructor(carrier: TunnelCarrier, isEnded: boolean) {
    this.carrier = carrier;
    this.isEndDue = isEnded;
  }

  write(data: string | Uint8Array): boolean {
    const bytes =
      typeof data === "string"
        ? Buffer.from(data, "latin1")
        : Buffer.from(data.buffer, data.byteOffset, data.byteLength);
    if (this.head === null) return this.carrier.sendTunnelData(bytes);
    return this.writeHead(Buffer.concat([this.head, bytes]));
  }

  /** 101 becomes 200 (RFC 8441 section 5); a refusal keeps its status. */
  private writeHead(all: Buffer): boolean {
    const head = new ResponseHead();
    const after = parseResponseHead(all, 0, all.length, head, "GET", limits);
    if (after === NEED_MORE) {
      this.head = all;
      return true;
    }
    this.head = null;
    if (after < 0) {
      this.carrier.cutTunnel();
      return true;
    }
    if (head.status === 101) {
      head.status = 200;
      head.headers.delete("sec-websocket-accept");
    }
    head.framing = "until-close";
    this.carrier.sendHead(head, "");
    releaseArrays(head.headers);
    return after === all.length || this.carrier.sendTunnelData(all.subarray(after));
  }

  pause(): void {
    this.carrier.pause();
  }

  resume(): void {
    this.carrier.resume();
    if (!this.isEndDue) return;
    this.isEndDue = false;
    this.handler.onEnd();
  }

  end(): void {
    this.carrier.endTunnel();
  }

  destroy(): void {
    this.carrier.cutTunnel();
  }

  reset(): void {
    this.carrier.breakTunnel();
  }
}
