/** A Node stream over a transport, for code that speaks streams: http-proxy's `ws()`. */

import { Duplex } from "node:stream";
import type { ByteStream, TransportHandler } from "../listen/transport.ts";

/** Bytes both ways, with backpressure; what `net.Socket` offers beyond a Duplex and a proxied upgrade asks for does nothing here. */
export class TransportStream extends Duplex implements TransportHandler {
  /** Null until {@link bind}: writes before that call {@link onFirstWrite}. */
  private transport: ByteStream | null = null;
  private pendingWrite: ((error?: Error | null) => void) | null = null;
  /** Bytes that went each way. */
  bytesIn = 0;
  bytesOut = 0;
  /** Called with each chunk, either way. */
  onTraffic: (() => void) | null = null;
  /** Binds the stream, when its first bytes are written before it was bound. */
  onFirstWrite: (() => void) | null = null;
  onClosed: (() => void) | null = null;

  constructor() {
    super({ allowHalfOpen: true, emitClose: true });
    // a stream without an 'error' listener would end the process
    this.on("error", () => {});
  }

  /** Starts the flow. @param rest bytes read already, which come first */
  bind(transport: ByteStream, rest: Buffer): void {
    this.transport = transport;
    transport.handler = this;
    if (rest.length > 0) this.onData(rest);
    transport.resume();
  }

  onData(chunk: Buffer): void {
    this.bytesIn += chunk.length;
    this.onTraffic?.();
    if (!this.push(Buffer.from(chunk))) this.transport?.pause();
  }

  onEnd(): void {
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
    if (this.transport === null) this.onFirstWrite?.();
    if (this.transport === null) return done(new Error("the connection is gone"));
    this.bytesOut += chunk.length;
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
