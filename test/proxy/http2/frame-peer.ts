/** An endpoint that speaks raw HTTP/2 frames, right or wrong, over an accepted connection of an {@link Origin}. */

import {
  clientPreface,
  Flag,
  FrameReader,
  FrameType,
  settingsFrame,
} from "../../../proxy/http2/frames.ts";
import type { OriginConnection } from "../../support/origin.ts";
import { block, BlockReader, frame, uint32, type Frame } from "./frame-client.ts";

/** A request as it arrived, up to its head. */
export interface PeerRequest {
  readonly id: number;
  readonly fields: ReadonlyMap<string, string>;
  /** It has no body. */
  readonly ended: boolean;
}

export class FramePeer {
  readonly frames: Frame[] = [];
  readonly connection: OriginConnection;
  private readonly blocks = new BlockReader();
  private toSkip = clientPreface.length;
  private at = 0;

  /** @param settings null: nothing is sent by itself */
  constructor(
    connection: OriginConnection,
    settings: readonly (readonly [number, number])[] | null = [],
  ) {
    this.connection = connection;
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
    const take = (chunk: Buffer): void => {
      const n = Math.min(this.toSkip, chunk.length);
      this.toSkip -= n;
      if (n < chunk.length) reader.read(chunk.subarray(n), sink);
      connection.wake();
    };
    connection.socket.on("data", take);
    if (settings !== null) this.send(settingsFrame(settings));
  }

  private note(type: number, flags: number, streamId: number, payload: Buffer): void {
    const fields = this.blocks.read(type, flags, payload);
    this.frames.push({ type, flags, streamId, payload, fields });
  }

  send(...bytes: readonly Uint8Array[]): void {
    this.connection.send(Buffer.concat(bytes));
  }

  /** The next request's head. Null when the connection ends first. */
  async request(): Promise<PeerRequest | null> {
    const isHead = (one: Frame): boolean => one.fields[0]?.[0].startsWith(":") === true;
    const find = (): number => this.frames.findIndex((one, i) => i >= this.at && isHead(one));
    const { connection } = this;
    await connection.until(
      "a request",
      () => find() !== -1 || connection.closed || connection.ended,
    );
    const index = find();
    if (index === -1) return null;
    this.at = index + 1;
    const found = this.frames[index]!;
    return {
      id: found.streamId,
      fields: new Map(found.fields),
      ended: (found.flags & Flag.endStream) !== 0,
    };
  }

  /** The next frame that fits, from the first on. */
  async frame(what: string, fits: (frame: Frame) => boolean): Promise<Frame> {
    await this.connection.until(what, () => this.frames.some(fits) || this.connection.closed);
    const found = this.frames.find(fits);
    if (found === undefined) throw new Error(`closed without ${what}`);
    return found;
  }

  /** Body of a request that has ended. */
  async body(id: number): Promise<Buffer> {
    await this.frame(
      `the end of ${id}`,
      (one) => one.streamId === id && (one.flags & Flag.endStream) !== 0 && one.type <= 1,
    );
    return this.bodySoFar(id);
  }

  bodySoFar(id: number): Buffer {
    const own = this.frames.filter((one) => one.streamId === id && one.type === FrameType.data);
    return Buffer.concat(own.map((one) => one.payload));
  }

  /** A head; fields as pairs. */
  head(id: number, status: number, fields: readonly (readonly [string, string])[] = []): Buffer {
    return frame(
      FrameType.headers,
      Flag.endHeaders,
      id,
      block([":status", String(status)], ...fields),
    );
  }

  data(id: number, text: string | Uint8Array, flags: number = 0): Buffer {
    return frame(FrameType.data, flags, id, typeof text === "string" ? Buffer.from(text) : text);
  }

  /** A whole answer. */
  ok(id: number, body = "ok", ...fields: readonly (readonly [string, string])[]): Buffer {
    return Buffer.concat([this.head(id, 200, fields), this.data(id, body, Flag.endStream)]);
  }

  reset(id: number, code: number): Buffer {
    return frame(FrameType.rstStream, 0, id, uint32(code));
  }

  goaway(lastId: number, code: number): Buffer {
    return frame(FrameType.goaway, 0, 0, Buffer.concat([uint32(lastId), uint32(code)]));
  }
}
