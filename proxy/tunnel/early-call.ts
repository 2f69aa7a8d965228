/** A connection to the service, made while the caller's first bytes are still awaited: what becomes of it until it is wanted. */

import type { Transport, TransportHandler } from "../listen/transport.ts";
import type { Splice } from "./splice.ts";

/** For a transport whose end nobody waits for. */
export const nobody: TransportHandler = { onData() {}, onEnd() {}, onClose() {}, onDrain() {} };

/** Who called. */
export interface EarlyCallOwner {
  /** The service has spoken, and may do so again only when it is wanted. */
  serviceSpoke(): void;
  /** The service has gone without a word: nothing is lost by it. */
  serviceGone(): void;
}

export class EarlyCall implements TransportHandler {
  readonly upstream: Transport;
  private readonly owner: EarlyCallOwner;
  private greeting: Buffer;
  /** What came behind the greeting. */
  private hasEnded = false;
  private closed: { readonly error: Error | null } | null = null;

  /** @param rest what the service has said already */
  constructor(upstream: Transport, rest: Buffer, owner: EarlyCallOwner) {
    this.upstream = upstream;
    this.greeting = rest;
    this.owner = owner;
  }

  listen(): void {
    this.upstream.handler = this;
    if (this.hasSpoken) this.owner.serviceSpoke();
    else this.upstream.resume();
  }

  get hasSpoken(): boolean {
    return this.greeting.length > 0;
  }

  /** It is wanted: all that happened meanwhile happens now. */
  passOn(splice: Splice): void {
    if (!this.hasSpoken) return;
    splice.upstream.onData(this.greeting);
    if (this.hasEnded) splice.upstream.onEnd();
    if (this.closed !== null) splice.upstream.onClose(this.closed.error);
  }

  /** Nobody wants it. */
  leave(): void {
    this.upstream.handler = nobody;
    this.upstream.destroy();
  }

  onData(chunk: Buffer): void {
    this.upstream.pause();
    this.greeting = Buffer.concat([this.greeting, chunk]);
    this.owner.serviceSpoke();
  }

  onEnd(): void {
    if (this.hasSpoken) this.hasEnded = true;
    else this.owner.serviceGone();
  }

  onClose(error: Error | null): void {
    if (this.hasSpoken) this.closed = { error };
    else this.owner.serviceGone();
  }

  onDrain(): void {}
}
