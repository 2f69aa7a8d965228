/** A Node stream over a transport, for code that speaks streams: http-proxy's `ws()`, until a handshake is done. */

import { Duplex } from "node:stream";
import type { TunnelEnd } from "../http/stream.ts";
import type { TransportHandler } from "../listen/transport.ts";

/** What a stream held when it was let go of. */
export interface Released {
  readonly end: TunnelEnd;
  /** Bytes read and not taken yet. */
  readonly rest: Buffer;
  /** The other side had sent its last byte: the transport does not say so again. */
  readonly hasEnded: boolean;
}

/** Bytes both ways, with backpressure; what `net.Socket` offers beyond a Duplex and a proxied upgrade asks for does nothing here. */
export class TransportStream extends Duplex implements TransportHandler {
  /** Null until {@link bind}: writes before that call {@link onFirstWrite}. */
  private transport: TunnelEnd | null = null;
  private pendingWrite: ((error?: Error | null) => void) | null = null;
  private hasEnded = false;
  /** Bytes written, without the first write: an answer's head. */
  bytesOut = 0;
  /** Called with each chunk, either way. */
  onTraffic: (() => void) | null = null;
  /** Binds the stream, when its first bytes are written. */
  onFirstWrite: (() => void) | null = null;
  onClosed: (() => void) | null = null;

  constructor() {
    super({ allowHalfOpen: true, emitClose: true });
    // a stream without an 'error' listener would end the process
    this.on("error", () => {});
  }

  /**
   * Starts the flow.
   * @param rest bytes read already, which come first
   * @param hasEnded the other side had sent its last byte before
   */
  bind(transport: TunnelEnd, rest: Buffer, hasEnded: boolean): void {
    this.transport = transport;
    transport.handler = this;
    if (rest.length > 0) this.onData(rest);
    if (hasEnded) this.onEnd();
    transport.resume();
  }

  /** Gives the transport back, as it is; the stream is gone afterwards. Null: it was never bound, or is closed. */
  release(): Released | null {
    const { transport, hasEnded } = this;
    const parts: Buffer[] = [];
    for (let part; (part = this.read() as Buffer | null) !== null;) parts.push(part);
    this.transport = this.onTraffic = this.onClosed = null;
    this.destroy();
    return transport === null ? null : { end: transport, rest: Buffer.concat(parts), hasEnded };
  }

  onData(chunk: Buffer): void {
    this.onTraffic?.();
    if (!this.push(Buffer.from(chunk))) this.transport?.pause();
  }

  onEnd(): void {
    if (this.hasEnded) return;
    this.hasEnded = true;
    this.push(null);
  }

  onClose(error: Error | null): void {
    this.destroy(error ?? undefined);
  }

  onDrain(): void {
    const done = this.pendingWrite;
    this.pendingWrite = null;
    done?.();
  }

  override _read(): void {
    this.transport?.resume();
  }

  override _write(
    chunk: Buffer,
    _encoding: BufferEncoding,
    done: (error?: Error | null) => void,
  ): void {
    const isFirst = this.onFirstWrite !== null;
    this.onFirstWrite?.();
    this.onFirstWrite = null;
    if (this.transport === null) return done(new Error("the connection is gone"));
    if (!isFirst) this.bytesOut += chunk.length;
    this.onTraffic?.();
    if (this.transport.write(chunk)) done();
    else this.pendingWrite = done;
  }

  override _final(done: (error?: Error | null) => void): void {
    this.transport?.end();
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.transport?.destroy();
    this.onClosed?.();
    this.onClosed = null;
    done(error);
  }

  // === what net.Socket has on top ===

  destroySoon(): void {
    this.end(() => this.destroy());
  }

  setTimeout(): this {
    return this;
  }

  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }
}
