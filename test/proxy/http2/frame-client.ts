/** A caller that writes raw HTTP/2 frames, right or wrong, and notes every frame that comes back. */

import { once } from "node:events";
import net from "node:net";
import tls from "node:tls";
import {
  Flag,
  FrameReader,
  FrameType,
  clientPreface,
  errorName,
  readUint31,
  readUint32,
  settingsFrame,
  typeWith,
  writeFrameHead,
} from "../../../proxy/http2/frames.ts";
import { HpackDecoder } from "../../../proxy/http2/hpack-decoder.ts";
import { within } from "../../support/eventually.ts";

export { ErrorCode, Flag, FrameType, Setting, clientPreface } from "../../../proxy/http2/frames.ts";

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Buffer;
  /** Of HEADERS and CONTINUATION with END_HEADERS: the decoded lines. */
  readonly fields: readonly (readonly [string, string])[];
}

/** Decodes the field blocks of one connection of weft's. */
export class BlockReader {
  private readonly decoder = new HpackDecoder();
  private held: Buffer[] = [];

  /** The fields of a block that ends with this frame; none for any other. Throws when they cannot be decoded. */
  read(type: number, flags: number, payload: Buffer): (readonly [string, string])[] {
    const fields: (readonly [string, string])[] = [];
    if (type !== FrameType.headers && type !== FrameType.continuation) return fields;
    this.held.push(payload);
    if ((flags & Flag.endHeaders) === 0) return fields;
    const whole = Buffer.concat(this.held);
    this.held = [];
    const ok = this.decoder.decode(whole, 0, whole.length, {
      onLine: (line) => void fields.push([line.name.text, line.value]),
    });
    if (!ok) throw new Error("a block from weft that cannot be decoded");
    return fields;
  }
}

export interface FrameClientOptions {
  /** Speak TLS and offer h2. */
  readonly secure?: boolean;
  /** Settings to begin with; null: send nothing by itself, not even the preface. */
  readonly settings?: readonly (readonly [number, number])[] | null;
}

/** One frame as bytes. `length` overrides the true one. */
export function frame(
  type: number,
  flags: number,
  streamId: number,
  payload: Uint8Array = Buffer.alloc(0),
  length = payload.length,
): Buffer {
  const head = Buffer.alloc(9);
  writeFrameHead(head, 0, length, typeWith(type, flags), streamId);
  return Buffer.concat([head, payload]);
}

/** A header block of literals that touch no table (RFC 7541 section 6.2.2), without Huffman. */
export function block(...pairs: readonly (readonly [string, string])[]): Buffer {
  const parts: Buffer[] = [];
  const text = (value: string): void => {
    const bytes = Buffer.from(value, "latin1");
    parts.push(integer(bytes.length, 127, 0), bytes);
  };
  for (const [name, value] of pairs) {
    parts.push(Buffer.from([0]));
    text(name);
    text(value);
  }
  return Buffer.concat(parts);
}

/** RFC 7541 section 5.1. */
export function integer(value: number, mask: number, first: number): Buffer {
  if (value < mask) return Buffer.from([first | value]);
  const bytes = [first | mask];
  for (value -= mask; value >= 128; value = Math.floor(value / 128))
    bytes.push((value % 128) | 128);
  return Buffer.from([...bytes, value]);
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** A connection of a caller. */
export class FrameClient {
  readonly socket: net.Socket;
  readonly frames: Frame[] = [];
  /** The other side has sent FIN, or the connection is gone. */
  ended = false;
  /** Host that requests are for. */
  authority = "test.example";
  private at = 0;
  private readonly blocks = new BlockReader();
  private waiters: { check: () => boolean; resolve: () => void }[] = [];

  private constructor(socket: net.Socket) {
    this.socket = socket;
    const reader = new FrameReader();
    const sink = {
      onFrame: (
        type: number,
        flags: number,
        streamId: number,
        buf: Buffer,
        start: number,
        end: number,
      ) => {
        this.note(type, flags, streamId, Buffer.from(buf.subarray(start, end)));
        return true;
      },
      onOversized: () => {
        throw new Error("an oversized frame from weft");
      },
    };
    socket.on("data", (chunk: Buffer) => {
      reader.read(chunk, sink);
      this.wake();
    });
    const over = (): void => {
      this.ended = true;
      this.wake();
    };
    socket.on("error", over);
    socket.on("end", over);
    socket.on("close", over);
  }

  static async connect(port: number, options: FrameClientOptions = {}): Promise<FrameClient> {
    const socket =
      options.secure === true
        ? tls.connect({
            port,
            host: "127.0.0.1",
            ALPNProtocols: ["h2"],
            servername: "test.example",
            rejectUnauthorized: false,
          })
        : net.connect({ port, host: "127.0.0.1", noDelay: true });
    const client = new FrameClient(socket);
    await within(
      "a connection",
      once(socket, options.secure === true ? "secureConnect" : "connect"),
    );
    if (options.settings !== null)
      client.send(Buffer.concat([clientPreface, settingsFrame(options.settings ?? [])]));
    return client;
  }

  private note(type: number, flags: number, streamId: number, payload: Buffer): void {
    const fields = this.blocks.read(type, flags, payload);
    this.frames.push({ type, flags, streamId, payload, fields });
  }

  /** Bytes, or frames one after the other, in one write. */
  send(...bytes: readonly Uint8Array[]): void {
    this.socket.write(Buffer.concat(bytes));
  }

  /** The pseudo-header fields of a GET, and whatever else. */
  request(...more: readonly (readonly [string, string])[]): Buffer {
    return block(
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "/"],
      [":authority", this.authority],
      ...more,
    );
  }

  /** The same for a POST. */
  post(...more: readonly (readonly [string, string])[]): Buffer {
    return block(
      [":method", "POST"],
      [":scheme", "http"],
      [":path", "/"],
      [":authority", this.authority],
      ...more,
    );
  }

  /** A whole GET on the stream. */
  get(streamId: number, ...more: readonly (readonly [string, string])[]): Buffer {
    const flags = Flag.endHeaders | Flag.endStream;
    return frame(FrameType.headers, flags, streamId, this.request(...more));
  }

  /** The head of a POST on the stream, its body to follow. */
  open(streamId: number, ...more: readonly (readonly [string, string])[]): Buffer {
    return frame(FrameType.headers, Flag.endHeaders, streamId, this.post(...more));
  }

  async until(what: string, check: () => boolean): Promise<void> {
    if (check()) return;
    try {
      await within(what, new Promise<void>((resolve) => this.waiters.push({ check, resolve })));
    } catch (error) {
      throw new Error(`${(error as Error).message}; got ${this.shown()}`, { cause: error });
    }
  }

  /** The next frame that fits, from where the last one was found. Fails when the connection ends first. */
  async next(what: string, fits: (frame: Frame) => boolean): Promise<Frame> {
    const find = (): number => this.frames.findIndex((one, i) => i >= this.at && fits(one));
    await this.until(what, () => find() !== -1 || this.ended);
    const found = find();
    if (found === -1) throw new Error(`the connection ended without ${what}; got ${this.shown()}`);
    this.at = found + 1;
    return this.frames[found]!;
  }

  /** RST_STREAM with that code; a connection error with the same code is as good (RFC 9113 section 5.4). */
  async streamError(streamId: number, ...codes: readonly number[]): Promise<void> {
    const found = await this.next(
      `RST_STREAM of ${streamId}`,
      (one) =>
        (one.type === FrameType.rstStream && one.streamId === streamId) ||
        one.type === FrameType.goaway,
    );
    this.expectCode(found, codes);
  }

  /** RST_STREAM, and the connection goes on. */
  async onlyStreamError(streamId: number, ...codes: readonly number[]): Promise<void> {
    await this.streamError(streamId, ...codes);
    await this.ping();
  }

  /** GOAWAY with that code, then the end. */
  async connectionError(...codes: readonly number[]): Promise<void> {
    this.expectCode(await this.next("GOAWAY", (one) => one.type === FrameType.goaway), codes);
    await this.untilEnded();
  }

  private expectCode(found: Frame, codes: readonly number[]): void {
    const at = found.type === FrameType.goaway ? 4 : 0;
    const code = readUint32(found.payload, at);
    if (!codes.includes(code)) {
      const names = codes.map((one) => errorName(one)).join(" or ");
      throw new Error(`expected ${names}, got ${errorName(code)} in ${this.shown()}`);
    }
  }

  untilEnded(): Promise<void> {
    return this.until("the end of the connection", () => this.ended);
  }

  /** Everything sent so far has been read: a PING has come back. */
  async ping(): Promise<void> {
    const payload = Buffer.from(
      `ping${this.at}${this.frames.length}`.padEnd(8).slice(0, 8),
      "latin1",
    );
    this.send(frame(FrameType.ping, 0, 0, payload));
    await this.next(
      "a PING back",
      (one) => one.type === FrameType.ping && one.flags === Flag.ack && one.payload.equals(payload),
    );
  }

  /** The head of the stream's answer. */
  async head(streamId: number): Promise<ReadonlyMap<string, string>> {
    const is = (one: Frame): boolean => one.streamId === streamId && one.fields.length > 0;
    await this.until(`an answer on ${streamId}`, () => this.frames.some(is) || this.ended);
    const found = this.frames.find(is);
    if (found === undefined) throw new Error(`no answer on ${streamId}; got ${this.shown()}`);
    return new Map(found.fields);
  }

  async status(streamId: number): Promise<number> {
    return Number((await this.head(streamId)).get(":status"));
  }

  /** Body of an answer that has ended. */
  async body(streamId: number): Promise<Buffer> {
    const own = (): Frame[] => this.frames.filter((one) => one.streamId === streamId);
    await this.until(
      `the end of stream ${streamId}`,
      () =>
        this.ended ||
        own().some((one) => one.type <= FrameType.headers && (one.flags & Flag.endStream) !== 0),
    );
    return Buffer.concat(
      own()
        .filter((one) => one.type === FrameType.data)
        .map((one) => one.payload),
    );
  }

  /** Takes body bytes as they come. */
  grant(streamId: number, bytes: number): void {
    this.send(frame(FrameType.windowUpdate, 0, streamId, uint32(bytes)));
  }

  private shown(): string {
    const names = Object.keys(FrameType);
    const list = this.frames.map((one) => {
      const name = names[Object.values(FrameType).indexOf(one.type as 0)] ?? one.type;
      const code =
        one.type === FrameType.goaway
          ? ` ${readUint31(one.payload, 0)} ${errorName(readUint32(one.payload, 4))} ${one.payload.toString("latin1", 8)}`
          : one.type === FrameType.rstStream
            ? ` ${errorName(readUint32(one.payload, 0))}`
            : one.fields.length > 0
              ? ` ${one.fields[0]![1]}`
              : "";
      return `${name}#${one.streamId}/${one.flags}${code}`;
    });
    return `[${list.join(", ")}]${this.ended ? " ended" : ""}`;
  }

  private wake(): void {
    const ready = this.waiters.filter((waiter) => waiter.check());
    this.waiters = this.waiters.filter((waiter) => !ready.includes(waiter));
    for (const waiter of ready) waiter.resolve();
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}
