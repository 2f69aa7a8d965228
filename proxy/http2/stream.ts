/** One stream (RFC 9113 section 5): bodies both ways under flow control, the same for both ends. */

import { ErrorCode, Flag, FrameType, defaultWindowBytes, typeWith } from "./frames.ts";
import type { Http2Connection } from "./connection.ts";
import { ReceiveWindow, streamWindowMax } from "./flow.ts";
import { boundOfLines, writeLines } from "./field-writer.ts";
import { trailerPlace } from "./hpack-encoder.ts";

const DATA = typeWith(FrameType.data, 0);
const LAST_DATA = typeWith(FrameType.data, Flag.endStream);
const WINDOW_UPDATE = typeWith(FrameType.windowUpdate, 0);

const NOTHING = Buffer.alloc(0);

/** Who opens windows by less than so many bytes has not earned the right to go on with it (CVE-2019-9511). */
const DRIBBLE = 256;

/** What both ends of a stream have in common. The subclass knows who reads it. */
export abstract class Http2Stream {
  readonly id: number;
  protected readonly connection: Http2Connection;
  /** Reset, or its connection is over: nothing is written or reported any more. */
  isGone = false;
  /** The other side has sent END_STREAM. */
  remoteEnded = false;
  /** We have sent END_STREAM. */
  localEnded = false;
  /** What the other side still takes; negative after it made its windows smaller. */
  sendWindow: number;
  /** Monotonic ms since when bytes wait for a window; 0: none do. */
  blockedSinceMs = 0;

  private window: ReceiveWindow | null = null;
  private isPaused = false;
  /** Bytes that arrived while paused: not granted again until they have a taker. */
  private withheld = 0;
  /** Those of them that the connection has granted again all the same. */
  private lent = 0;
  /** Bytes that wait for a window. */
  private queue: Buffer[] | null = null;
  /** The first of them begins here. */
  private queueAt = 0;
  /** Trailers to send behind the queue; null: the end has not come. */
  private ending: string | null = null;

  constructor(connection: Http2Connection, id: number) {
    this.connection = connection;
    this.id = id;
    this.sendWindow = connection.peerWindow;
  }

  /** Body bytes, valid only during the call. */
  protected abstract onBody(chunk: Buffer): void;
  /** The body is whole. */
  protected abstract onBodyEnd(trailers: string): void;
  /** Bytes can be sent again. */
  abstract onReady(): void;
  /** All bytes of this turn have been handed over. */
  abstract onTurnEnd(): void;
  /** The stream is over before its time: reset by the other side (`code`), or with its connection. */
  abstract onGone(code: number, error: Error | null): void;

  /** We have reset it, for what the other side did or for a reason of ours. */
  onRefused(code: number, _why: string): void {
    this.onGone(code, null);
  }

  // === receiving ===

  /**
   * A DATA frame.
   * @param paid octets that it takes from the windows: the payload with its padding
   */
  receive(buf: Buffer, start: number, end: number, paid: number): void {
    const window = (this.window ??= new ReceiveWindow(
      this.connection.budget,
      streamWindowMax,
      this.connection.ownWindow,
    ));
    if (!window.receive(paid)) {
      this.connection.consume(paid);
      this.connection.resetStream(
        this,
        ErrorCode.flowControlError,
        "more data than the window of the stream",
      );
      return;
    }
    if (end > start) this.onBody(buf.subarray(start, end));
    if (this.isPaused && !this.isGone) {
      this.withheld += paid;
      if (this.connection.lend(paid)) this.lent += paid;
    } else this.credit(paid, paid);
  }

  /** END_STREAM has arrived. */
  receiveEnd(trailers: string): void {
    this.remoteEnded = true;
    this.onBodyEnd(trailers);
    if (this.localEnded && !this.isGone) this.connection.closeStream(this);
  }

  private credit(bytes: number, ofConnection: number): void {
    if (!this.isGone && !this.remoteEnded) {
      const increment = this.window!.consume(bytes);
      if (increment > 0) this.connection.output.short(WINDOW_UPDATE, this.id, increment);
    }
    if (ofConnection > 0) this.connection.consume(ofConnection);
  }

  /** What was withheld has a taker, or nobody wants it any more. */
  private settle(): void {
    const { withheld, lent } = this;
    if (withheld === 0) return;
    this.withheld = this.lent = 0;
    if (lent > 0) this.connection.repay(lent);
    this.credit(withheld, withheld - lent);
  }

  pause(): void {
    this.isPaused = true;
    this.window?.stopGrowing();
  }

  resume(): void {
    if (!this.isPaused) return;
    this.isPaused = false;
    if (!this.isGone) this.settle();
  }

  // === sending ===

  /** Bytes are copied before it returns. False: stop until {@link onReady}. */
  protected sendBody(chunk: Buffer): boolean {
    const { connection } = this;
    if (this.isGone || this.localEnded) return true;
    const { length } = chunk;
    if (length === 0) return true;
    if (this.queue !== null) {
      this.queue.push(Buffer.from(chunk));
      return false;
    }
    const n = Math.min(length, this.sendWindow, connection.sendWindow);
    if (n === length) {
      this.sendWindow -= n;
      connection.sendWindow -= n;
      connection.output.data(this.id, chunk, 0, n, connection.peerFrameBytes, DATA);
      connection.guard.earn(updatesFor(n));
      if (!connection.output.isFull) return true;
      connection.waitForDrain(this);
      return false;
    }
    if (n > 0) this.put(chunk, 0, n, DATA);
    this.queue = [Buffer.from(n > 0 ? chunk.subarray(n) : chunk)];
    this.queueAt = 0;
    connection.holdBack(this);
    return false;
  }

  /** @param trailers lines ended by CRLF, or empty */
  protected endBody(trailers: string): void {
    if (this.isGone || this.localEnded || this.ending !== null) return;
    if (this.queue !== null) this.ending = trailers;
    else this.finish(trailers);
  }

  /** True while bytes wait for a window. */
  get isBlocked(): boolean {
    return this.queue !== null;
  }

  /** Sends what the windows allow, at most `quantum` bytes of it. @returns how much */
  pump(quantum: number): number {
    const { queue, connection } = this;
    if (queue === null || this.isGone) return 0;
    const chunk = queue[0]!;
    const n = Math.min(
      chunk.length - this.queueAt,
      this.sendWindow,
      connection.sendWindow,
      quantum,
    );
    if (n <= 0) return 0;
    const end = this.queueAt + n;
    this.put(chunk, this.queueAt, end, DATA);
    this.queueAt = end;
    this.blockedSinceMs = connection.now();
    if (end === chunk.length) {
      queue.shift();
      this.queueAt = 0;
      if (queue.length === 0) this.unblock();
    }
    return n;
  }

  private unblock(): void {
    this.queue = null;
    this.blockedSinceMs = 0;
    const { ending } = this;
    if (ending !== null) {
      this.ending = null;
      this.finish(ending);
    } else this.onReady();
  }

  private put(chunk: Buffer, start: number, end: number, typeAndFlags: number): void {
    const { connection } = this;
    this.sendWindow -= end - start;
    connection.sendWindow -= end - start;
    connection.output.data(this.id, chunk, start, end, connection.peerFrameBytes, typeAndFlags);
    if (end === chunk.length || end - start >= DRIBBLE)
      connection.guard.earn(updatesFor(end - start));
  }

  private finish(trailers: string): void {
    const { connection, id } = this;
    this.localEnded = true;
    if (trailers !== "") {
      const { encoder, output } = connection;
      const block = output.beginBlock(boundOfLines(trailers) + 8);
      const at = encoder.begin(block, output.blockAt, trailerPlace);
      output.endBlock(id, writeLines(encoder, block, at, trailers), Flag.endStream);
    } else if (!connection.output.amend(id, Flag.endStream))
      connection.output.data(id, NOTHING, 0, 0, connection.peerFrameBytes, LAST_DATA);
    if (this.remoteEnded) connection.closeStream(this);
    else this.onAnsweredEarly();
  }

  /** We have said everything and the other side has not. */
  protected onAnsweredEarly(): void {}

  /** Lets go of what the stream holds; its connection has forgotten it. */
  release(): void {
    this.isGone = true;
    this.queue = null;
    this.window?.release();
    this.settle();
  }
}

/** WINDOW_UPDATE frames that so many bytes may rightly cause: one of the stream and one of the connection for each 4 KiB. */
function updatesFor(bytes: number): number {
  return 4 + (bytes >>> 11);
}

/** Of a stream whose peer asked for no other. */
export const ownStreamWindow = defaultWindowBytes;
