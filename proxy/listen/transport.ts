/** A byte stream to a caller or to an endpoint: the only place that knows how Node's sockets are read fast. */

import net from "node:net";
import type { TLSSocket } from "node:tls";
import { reportBug } from "../bugs.ts";
import { beginEvent, endEvent } from "../clock.ts";
import { latin1 } from "../http/latin1.ts";
import { lookForLoss } from "./lost-write.ts";

/** Receives what happens on a {@link Transport}. Calls never nest for one transport. */
export interface TransportHandler {
  /** `chunk` is valid only during the call: copy what must be kept. */
  onData(chunk: Buffer): void;
  /** The other side has sent its last byte (FIN). */
  onEnd(): void;
  /** Exactly once; nothing follows. */
  onClose(error: Error | null): void;
  /** What was queued has been handed to the system, after a `write` that returned false. */
  onDrain(): void;
}

/** What a tunnel needs of either side: a {@link Transport}, or one stream of a connection of HTTP/2. */
export interface ByteStream {
  handler: TransportHandler;
  /** False: wait for `onDrain`. */
  write(data: string | Uint8Array): boolean;
  pause(): void;
  resume(): void;
  end(): void;
  destroy(): void;
}

/** One read buffer for all plain sockets of a thread: the callback is synchronous, so nobody else can fill it meanwhile. */
const readBuffer = Buffer.allocUnsafeSlow(64 * 1024);

/** Buffers for sockets that read in bulk, ready for use: see {@link Transport.writeParts}. */
const bulkBuffers: Buffer[] = [];
const BULK_BYTES = 128 * 1024;
const BULK_POOL = 64;
/** Shorter chunks are written as text, for which Node allocates less than for a copy of the bytes. */
const TEXT_BELOW = 4 * 1024;
/** A read shorter than this ends the bulk reading. */
const BULK_ENDS_BELOW = 8 * 1024;

/** The transport whose handler is being given a chunk. */
let delivering: Transport | null = null;

function deliverFrom(transport: Transport | null): void {
  delivering = transport;
}

/** Transports with text to be written at the end of this turn of the event loop. */
let dirty: Transport[] = [];
let spare: Transport[] = [];

/** Writes what the turn has left: all sockets one after the other, so that neither the system nor the other sides are woken in between. */
function writeOut(): void {
  const list = dirty;
  dirty = spare;
  for (let i = 0; i < list.length; i++) list[i]!.writeHeld();
  list.length = 0;
  spare = list;
}

const ignored: TransportHandler = { onData() {}, onEnd() {}, onClose() {}, onDrain() {} };

/** Node keeps the libuv handle here; where it is absent, reading falls back to `data` events. */
interface HandleOwner {
  _handle: unknown;
}

export class Transport implements ByteStream {
  readonly socket: net.Socket;
  handler: TransportHandler = ignored;
  private closed = false;
  private error: Error | null = null;
  /** Text for the end of the turn. */
  private held = "";
  /** The other side has sent its last byte. */
  private ended = false;

  /** The buffer that reads fill while bytes come in bulk; null: the shared one. */
  private bulk: Buffer | null = null;

  private constructor(make: (onread: net.OnReadOpts) => net.Socket) {
    const socket = make({
      buffer: () => this.bulk ?? readBuffer,
      callback: (length, buffer) => {
        this.received(buffer as Buffer, length);
        return true;
      },
    });
    this.socket = socket;
    // every socket has its error listener from birth, for life: an unheard 'error' ends the process
    socket.on("error", (error: Error) => {
      this.error = error;
    });
    socket.on("end", () => {
      this.ended = true;
      lookForLoss(socket);
      this.guard(() => this.handler.onEnd());
    });
    socket.on("drain", () => this.guard(() => this.handler.onDrain()));
    socket.on("close", () => {
      if (this.closed) return;
      this.closed = true;
      this.releaseBulk();
      const handler = this.handler;
      this.handler = ignored;
      this.guard(() => handler.onClose(this.error));
    });
  }

  private received(buffer: Buffer, length: number): void {
    deliverFrom(this);
    this.deliver(length === buffer.length ? buffer : buffer.subarray(0, length));
    deliverFrom(null);
    if (length === buffer.length) {
      // the system had more than fits: what comes next gets a buffer that can be handed on without a copy
      this.bulk ??= bulkBuffers.pop() ?? Buffer.allocUnsafeSlow(BULK_BYTES);
    } else if (this.bulk !== null && length < BULK_ENDS_BELOW) this.releaseBulk();
  }

  private releaseBulk(): void {
    if (this.bulk !== null && bulkBuffers.length < BULK_POOL) bulkBuffers.push(this.bulk);
    this.bulk = null;
  }

  private deliver(chunk: Buffer): void {
    beginEvent();
    try {
      this.handler.onData(chunk);
    } catch (error) {
      this.failed(error);
    }
    endEvent();
  }

  private guard(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.failed(error);
    }
  }

  /** A bug costs one connection, never the process. */
  private failed(error: unknown): void {
    reportBug(error);
    this.socket.destroy();
  }

  /** Any socket, TLS included, that nobody has read from; create it with `allowHalfOpen: true`. Call {@link resume} to start reading. */
  static of(socket: net.Socket | TLSSocket): Transport {
    const transport = new Transport(() => socket);
    socket.on("data", (chunk: Buffer) => transport.deliver(chunk));
    socket.pause();
    return transport;
  }

  /**
   * An accepted plain socket of a server with `pauseOnConnect` and `allowHalfOpen`: its handle is taken over, so that
   * reads fill one shared buffer. The socket passed in must not be used afterwards.
   */
  static accepted(socket: net.Socket): Transport {
    const owner = socket as unknown as HandleOwner;
    const handle = owner._handle;
    if (handle === null || handle === undefined) return Transport.of(socket);
    owner._handle = null;
    return new Transport(
      (onread) => new net.Socket({ handle, allowHalfOpen: true, onread } as object),
    );
  }

  /** A socket of one's own making that is given `onread`, e.g. to `tls.connect`: reads fill the shared buffer. */
  static reading(make: (onread: net.OnReadOpts) => net.Socket): Transport {
    return new Transport(({ callback }) => make({ buffer: readBuffer, callback }));
  }

  /** Connects over plain TCP; `onConnect` runs once on success, a failure arrives at `handler.onClose`. Reading starts with {@link resume}. */
  static connect(options: { host: string; port: number }, onConnect: () => void): Transport {
    return new Transport((onread) =>
      net.connect(
        {
          host: options.host,
          port: options.port,
          noDelay: true,
          allowHalfOpen: true,
          autoSelectFamily: false,
          onread,
        } as net.NetConnectOpts,
        onConnect,
      ),
    );
  }

  /** Starts reading, or goes on. */
  resume(): void {
    this.socket.resume();
  }

  pause(): void {
    this.socket.pause();
  }

  /** Texts are written as latin1, at the end of the turn. False: wait for `onDrain` before writing much more. */
  write(data: string | Uint8Array): boolean {
    if (this.closed) return true;
    if (typeof data === "string") {
      if (data === "") return true;
      if (this.held === "") {
        if (dirty.length === 0) setImmediate(writeOut);
        dirty.push(this);
      }
      this.held += data;
      return !this.socket.writableNeedDrain;
    }
    this.writeHeld();
    if (this.ended) lookForLoss(this.socket);
    return this.socket.write(data);
  }

  /** Hands over what waits for the end of the turn. */
  writeHeld(): void {
    const text = this.held;
    if (text === "") return;
    this.held = "";
    if (this.ended) lookForLoss(this.socket);
    this.socket.write(text, "latin1");
  }

  /**
   * Writes a chunk that is valid only during the call, with texts around it, in one go. The chunk is copied, unless it
   * lies in a bulk buffer: then the bytes go out from there, and the buffer is given away when the system took only a part.
   */
  writeParts(before: string, chunk: Buffer, after: string): boolean {
    if (this.closed) return true;
    before = this.held + before;
    this.held = "";
    if (this.ended) lookForLoss(this.socket);
    const { socket } = this;
    if (chunk.length < TEXT_BELOW)
      return socket.write(before + latin1(chunk, 0, chunk.length) + after, "latin1");
    const source = delivering;
    const inPlace = source !== null && source.bulk !== null && source.bulk.buffer === chunk.buffer;
    const bytes = inPlace ? chunk : Buffer.from(chunk);
    if (before !== "" || after !== "") {
      socket.cork();
      if (before !== "") socket.write(before, "latin1");
      socket.write(bytes);
      if (after !== "") socket.write(after, "latin1");
      socket.uncork();
    } else socket.write(bytes);
    if (inPlace && socket.writableLength > 0) source.bulk = null;
    return !socket.writableNeedDrain;
  }

  /** Writes until {@link uncork} go out together. */
  cork(): void {
    this.socket.cork();
  }

  uncork(): void {
    this.socket.uncork();
  }

  /** Bytes queued in this process. */
  get writableBytes(): number {
    return this.socket.writableLength + this.held.length;
  }

  /** True after a `write` that returned false, until `onDrain`. */
  get needsDrain(): boolean {
    return this.socket.writableNeedDrain;
  }

  get isClosed(): boolean {
    return this.closed;
  }

  /** Sends what is queued, then FIN; reading goes on. */
  end(): void {
    this.writeHeld();
    if (this.closed) return;
    if (this.ended) lookForLoss(this.socket);
    this.socket.end();
  }

  /** Closes at once; what is queued is lost. */
  destroy(): void {
    this.writeHeld();
    this.socket.destroy();
  }

  /** Closes with a TCP reset, so that the other side cannot take a cut answer for a whole one. */
  reset(): void {
    const { socket } = this;
    // libuv refuses a reset while a FIN is under way, and Node then never closes the handle: the process could not exit
    const isEnding = socket.writableEnded && !socket.writableFinished;
    if (isEnding) return void socket.destroy();
    if (!("encrypted" in socket)) return void socket.resetAndDestroy();
    // a TLS socket closes the handle below it once it has let go of OpenSSL: that is the moment, and not before
    const below = (socket as unknown as TlsInternals)._handle?._parent;
    if (below?.reset !== undefined) below.close = below.reset;
    socket.destroy();
  }
}

/** Of Node's TLSSocket: its handle has another one below it, of TCP, which can reset. */
interface TlsInternals {
  readonly _handle: {
    readonly _parent?: {
      close(done: () => void): void;
      readonly reset?: (done: () => void) => void;
    };
  } | null;
}
