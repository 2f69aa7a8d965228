/** Bytes both ways between a caller and an endpoint: backpressure, half-closes and resets as they come. */

import { Transport, type TransportHandler } from "../listen/transport.ts";
import type { TunnelEnd } from "../http/stream.ts";

/** Whose bytes, or whose end. */
export type Side = "downstream" | "upstream";

/** Who owns a {@link Splice}. */
export interface SpliceOwner {
  /** Looks at bytes before they are passed on: others in their place, null to drop them. Absent: they go on as they are. */
  readonly change?: ((chunk: Buffer, from: Side) => Uint8Array | null) | null;
  /** Exactly once. `error` null: both sides ended on their own; else the side that broke, and the other has been reset. */
  spliced(broken: Side | null, error: Error | null): void;
}

/** Two ends that are one connection to whoever speaks over them. */
export class Splice {
  readonly downstream: Half;
  readonly upstream: Half;
  private readonly owner: SpliceOwner;
  private open = 2;

  /** The ends must be paused. Flow begins with {@link start}. */
  constructor(downstream: TunnelEnd, upstream: TunnelEnd, owner: SpliceOwner) {
    this.owner = owner;
    this.downstream = new Half(this, "downstream", downstream, owner);
    this.upstream = new Half(this, "upstream", upstream, owner);
    this.downstream.other = this.upstream;
    this.upstream.other = this.downstream;
  }

  /**
   * @param held bytes of the caller that were read before
   * @param hasEnded the caller has sent its last byte
   */
  start(held: Buffer, hasEnded: boolean): void {
    this.downstream.begin();
    this.upstream.begin();
    if (held.length > 0) this.downstream.onData(held);
    if (hasEnded) this.downstream.onEnd();
    this.upstream.end.resume();
    if (!this.upstream.isFull) this.downstream.end.resume();
  }

  /** True when a byte has passed since this was asked last. */
  takeMoved(): boolean {
    const moved = this.downstream.moved || this.upstream.moved;
    this.downstream.moved = this.upstream.moved = false;
    return moved;
  }

  /** Both sides see a cut, never an end of the data. */
  reset(): void {
    this.open = 0;
    this.downstream.cut();
    this.upstream.cut();
  }

  /** @internal an end is closed */
  closed(half: Half, error: Error | null): void {
    if (this.open === 0) return;
    if (error === null) {
      // what the other end has queued still goes out; it closes by itself, or runs into its idle limit
      if (--this.open === 0) this.owner.spliced(null, null);
      else half.other.end.end();
      return;
    }
    this.open = 0;
    half.other.cut();
    this.owner.spliced(half.side, error);
  }
}

/** One end: what it hears goes to the other. */
export class Half implements TransportHandler {
  readonly side: Side;
  readonly end: TunnelEnd;
  other!: Half;
  /** Bytes heard from this end. */
  bytes = 0;
  /** A byte came since the splice was asked last. */
  moved = false;
  /** It takes no more bytes for now. */
  isFull = false;
  private readonly splice: Splice;
  private readonly change: SpliceOwner["change"];
  /** Null: the end is a stream of HTTP/2. */
  private readonly transport: Transport | null;
  private isClosed = false;

  constructor(splice: Splice, side: Side, end: TunnelEnd, owner: SpliceOwner) {
    this.splice = splice;
    this.side = side;
    this.end = end;
    this.change = owner.change ?? null;
    this.transport = end instanceof Transport ? end : null;
  }

  begin(): void {
    this.end.handler = this;
  }

  onData(chunk: Buffer): void {
    this.moved = true;
    this.bytes += chunk.length;
    const { other, change } = this;
    if (change === null || change === undefined) {
      if (!other.take(chunk)) this.end.pause();
      return;
    }
    const bytes = change(chunk, this.side);
    if (bytes === null || bytes.length === 0) return;
    const own = bytes === chunk ? chunk : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    if (!other.take(own)) this.end.pause();
  }

  onEnd(): void {
    this.other.end.end();
  }

  onClose(error: Error | null): void {
    this.isClosed = true;
    this.splice.closed(this, error);
  }

  onDrain(): void {
    this.isFull = false;
    this.other.end.resume();
  }

  /** False: no more until {@link onDrain}. */
  private take(chunk: Buffer): boolean {
    if (this.isClosed) return true;
    const { transport } = this;
    const taken =
      transport === null ? this.end.write(Buffer.from(chunk)) : transport.writeParts("", chunk, "");
    this.isFull = !taken;
    return taken;
  }

  cut(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.end.reset();
  }
}
