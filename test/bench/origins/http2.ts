/**
 * An origin of HTTP/2 whose answer is made once: `node http2.ts text|grpc PORT...`. It reads no heads, only where a
 * request ends, and answers each with the same frames, 64 bytes of text or one gRPC message of 64 bytes with trailers.
 */

import net from "node:net";
import {
  clientPreface,
  defaultFrameBytes,
  Flag,
  FrameReader,
  frameHeadBytes,
  FrameType,
  settingsFrame,
  typeWith,
  writeFrameHead,
  writeUint32,
  type FrameSink,
} from "../../../proxy/http2/frames.ts";
import { HpackEncoder } from "../../../proxy/http2/hpack-encoder.ts";

const [kind, ...ports] = process.argv.slice(2) as [string, ...string[]];

/** A block that leaves the table of whoever reads it as it is. */
function block(fields: readonly (readonly [name: string, value: string])[]): Buffer {
  const encoder = new HpackEncoder();
  encoder.setLimit(0);
  const out = Buffer.alloc(1024);
  let at = encoder.begin(out, 0);
  for (const [name, value] of fields) at = encoder.field(out, at, name, value);
  return out.subarray(0, at);
}

function frame(type: number, flags: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(frameHeadBytes);
  writeFrameHead(head, 0, payload.length, typeWith(type, flags), 0);
  return Buffer.concat([head, payload]);
}

const text = Buffer.alloc(64, "x");
const message = Buffer.concat([Buffer.from([0, 0, 0, 0, text.length]), text]);
const date = new Date().toUTCString();
const frames: readonly Buffer[] =
  kind === "grpc"
    ? [
        frame(
          FrameType.headers,
          Flag.endHeaders,
          block([
            [":status", "200"],
            ["content-type", "application/grpc"],
          ]),
        ),
        frame(FrameType.data, 0, message),
        frame(FrameType.headers, Flag.endHeaders | Flag.endStream, block([["grpc-status", "0"]])),
      ]
    : [
        frame(
          FrameType.headers,
          Flag.endHeaders,
          block([
            [":status", "200"],
            ["server", "bench"],
            ["date", date],
            ["content-type", "text/plain"],
            ["content-length", String(text.length)],
          ]),
        ),
        frame(FrameType.data, Flag.endStream, text),
      ];
const answer = Buffer.concat(frames);
/** Where each frame of the answer has its stream's number. */
const idsAt: number[] = [];
for (let at = 0, i = 0; i < frames.length; at += frames[i++]!.length) idsAt.push(at + 5);

const settings = settingsFrame([]);
const ack = frame(FrameType.settings, Flag.ack, Buffer.alloc(0));
/** The connection's window is as good as endless: what it is granted anew comes in steps of a quarter. */
const window = 0x40000000;

function windowUpdate(bytes: number): Buffer {
  const payload = Buffer.alloc(4);
  writeUint32(payload, 0, bytes);
  return frame(FrameType.windowUpdate, 0, payload);
}

class Connection implements FrameSink {
  private readonly socket: net.Socket;
  private readonly reader = new FrameReader(defaultFrameBytes);
  private prefaceLeft = clientPreface.length;
  private readonly out: Buffer[] = [];
  private taken = 0;

  constructor(socket: net.Socket) {
    this.socket = socket;
    this.out.push(settings, windowUpdate(window));
    socket.on("error", () => socket.destroy());
    socket.on("data", (chunk: Buffer) => {
      const skipped = Math.min(this.prefaceLeft, chunk.length);
      this.prefaceLeft -= skipped;
      this.reader.read(skipped === 0 ? chunk : chunk.subarray(skipped), this);
      if (this.out.length > 0) socket.write(Buffer.concat(this.out.splice(0)));
    });
  }

  onFrame(
    type: number,
    flags: number,
    streamId: number,
    buf: Buffer,
    start: number,
    end: number,
  ): boolean {
    switch (type) {
      case FrameType.data:
        this.taken += end - start;
        if (this.taken > window / 4) {
          this.out.push(windowUpdate(this.taken));
          this.taken = 0;
        }
        if ((flags & Flag.endStream) !== 0) this.answer(streamId);
        break;
      case FrameType.headers:
        if ((flags & Flag.endStream) !== 0) this.answer(streamId);
        break;
      case FrameType.settings:
        if ((flags & Flag.ack) === 0) this.out.push(ack);
        break;
      case FrameType.ping:
        if ((flags & Flag.ack) === 0)
          this.out.push(frame(FrameType.ping, Flag.ack, Buffer.from(buf.subarray(start, end))));
        break;
    }
    return true;
  }

  onOversized(): void {
    this.socket.destroy();
  }

  private answer(streamId: number): void {
    const own = Buffer.from(answer);
    for (const at of idsAt) writeUint32(own, at, streamId);
    this.out.push(own);
  }
}

for (const port of ports)
  net
    .createServer({ noDelay: true }, (socket) => new Connection(socket))
    .listen(Number(port), "127.0.0.1");
