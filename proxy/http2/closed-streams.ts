/** Streams that are over, as far as a connection has to remember them: what a late frame on one of them means. */

/** Streams that we reset lately and that the other side may still be sending on. */
const RESET_MAX = 1024;
/** Streams that ended lately: a frame on one of them is told apart from one on a stream that never was. A power of two. */
const ENDED_MAX = 64;

export class ClosedStreams {
  private reset: Set<number> | null = null;
  private ended: Int32Array | null = null;
  private count = 0;

  /** In whatever way: on every stream, so it must be cheap. */
  noteEnd(streamId: number): void {
    this.ended ??= new Int32Array(ENDED_MAX);
    this.ended[this.count++ & (ENDED_MAX - 1)] = streamId;
  }

  noteReset(streamId: number): void {
    const ids = (this.reset ??= new Set());
    ids.add(streamId);
    if (ids.size <= RESET_MAX) return;
    const [oldest] = ids;
    ids.delete(oldest!);
  }

  /** True when we reset it: what was under way then is ignored (RFC 9113 section 5.1). */
  wasReset(streamId: number): boolean {
    return this.reset !== null && this.reset.has(streamId);
  }

  /** True when it ended lately. */
  hasEnded(streamId: number): boolean {
    return this.ended !== null && this.ended.includes(streamId);
  }
}
