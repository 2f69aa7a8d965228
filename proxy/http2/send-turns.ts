/** Whose turn it is to send: streams with bytes that wait for a window, or for the socket. */

import type { FrameOutput } from "./output.ts";

/** A stream, as far as taking turns goes. */
export interface Sender {
  readonly isGone: boolean;
  /** Bytes wait for a window. */
  readonly isBlocked: boolean;
  /** Since when, in monotonic ms. */
  readonly blockedSinceMs: number;
  /** Sends at most `quantum` bytes of what waits. @returns how many */
  pump(quantum: number): number;
  /** Bytes can be sent again. */
  onReady(): void;
}

/** The senders of one connection. */
export class SendTurns<S extends Sender> {
  private readonly output: FrameOutput;
  /** In the order in which they are served. */
  private readonly blocked = new Set<S>();
  /** To be told when the socket takes bytes again. */
  private waiting: S[] = [];

  constructor(output: FrameOutput) {
    this.output = output;
  }

  /** Bytes of the stream wait for a window. */
  block(stream: S): void {
    this.blocked.add(stream);
  }

  waitForDrain(stream: S): void {
    this.waiting.push(stream);
  }

  forget(stream: S): void {
    if (stream.isBlocked) this.blocked.delete(stream);
  }

  clear(): void {
    this.blocked.clear();
    this.waiting = [];
  }

  /** Sends what waits, a frame of each stream in turn, while the windows and the socket allow. */
  pump(connection: { readonly sendWindow: number }, quantum: number): void {
    const { blocked, output } = this;
    let moved = blocked.size > 0;
    while (moved && connection.sendWindow > 0 && !output.isFull) {
      moved = false;
      for (const stream of blocked) {
        if (stream.pump(quantum) > 0) moved = true;
        if (!stream.isBlocked || stream.isGone) blocked.delete(stream);
        if (connection.sendWindow <= 0 || output.isFull) break;
      }
    }
  }

  /** The socket takes bytes again: tells who was turned away. */
  drained(): void {
    const { waiting } = this;
    if (waiting.length === 0) return;
    this.waiting = [];
    for (const stream of waiting) if (!stream.isGone) stream.onReady();
  }

  /** Since when the one that has waited longest for a window waits, in monotonic ms; 0: none does. */
  get sinceMs(): number {
    let since = 0;
    for (const { blockedSinceMs } of this.blocked)
      if (since === 0 || blockedSinceMs < since) since = blockedSinceMs;
    return since;
  }

  /** Those whose bytes nobody has taken since `sinceMs`. */
  stuck(sinceMs: number): S[] {
    return [...this.blocked].filter((stream) => stream.blockedSinceMs <= sinceMs);
  }
}
