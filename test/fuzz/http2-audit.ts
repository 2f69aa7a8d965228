/** What must hold for every frame that weft writes, whatever came in: RFC 9113 from the other end's view. */

import assert from "node:assert/strict";
import { clientPreface, FrameReader, readUint31, readUint32 } from "../../proxy/http2/frames.ts";
import type { Frame } from "../proxy/http2/frame-client.ts";

const END_STREAM = 1;

/** What the other end allowed, as generously as its frames can be read. */
interface Allowance {
  readonly connection: number;
  readonly initial: number;
  readonly ofStream: ReadonlyMap<number, number>;
  /** SETTINGS frames that may be acknowledged. */
  readonly settings: number;
}

/** @param sent the bytes that weft was given, without a preface */
function allowed(sent: Buffer): Allowance {
  let connection = 65_535;
  let initial = 65_535;
  let settings = 0;
  const ofStream = new Map<number, number>();
  new FrameReader().read(Buffer.from(sent), {
    onFrame(type, flags, id, buf, start, end) {
      if (type === 4 && (flags & 1) === 0) {
        settings++;
        for (let at = start; at + 6 <= end; at += 6)
          if (buf[at + 1] === 4) initial = Math.max(initial, readUint32(buf, at + 2));
      } else if (type === 8 && end - start === 4) {
        const increment = readUint31(buf, start);
        if (id === 0) connection += increment;
        else ofStream.set(id, (ofStream.get(id) ?? 0) + increment);
      }
      return true;
    },
    onOversized() {},
  });
  return { connection, initial, ofStream, settings };
}

/** Checks everything that was written to the other end. */
export function audit(frames: readonly Frame[], sent: Buffer, isServer: boolean): void {
  const body =
    isServer && sent.subarray(0, clientPreface.length).equals(clientPreface)
      ? sent.subarray(clientPreface.length)
      : sent;
  const allowance = allowed(body);
  const streams = new Map<number, { bytes: number; isEnded: boolean; isReset: boolean }>();
  let total = 0;
  let acks = 0;
  let isOver = false;
  for (const { type, flags, streamId, payload, fields } of frames) {
    assert.ok(!isOver, "a frame behind GOAWAY with an error");
    if (type === 7) isOver = readUint32(payload, 4) !== 0;
    if (type === 4 && (flags & 1) !== 0) acks++;
    if (type === 8) assert.notEqual(readUint31(payload, 0), 0, "WINDOW_UPDATE of nothing");
    if (streamId === 0) continue;
    assert.equal(streamId & 1, 1, "a stream of nobody's");
    const stream = streams.get(streamId) ?? { bytes: 0, isEnded: false, isReset: false };
    streams.set(streamId, stream);
    assert.ok(!stream.isReset || type === 3, `type ${type} behind RST_STREAM on ${streamId}`);
    if (type === 3) {
      stream.isReset = true;
      continue;
    }
    if (type > 1 && type !== 9) continue;
    assert.ok(!stream.isEnded, `type ${type} behind END_STREAM on ${streamId}`);
    if ((flags & END_STREAM) !== 0 && type !== 9) stream.isEnded = true;
    if (type === 0) {
      stream.bytes += payload.length;
      total += payload.length;
      const limit = allowance.initial + (allowance.ofStream.get(streamId) ?? 0);
      assert.ok(stream.bytes <= limit, `${stream.bytes} bytes on stream ${streamId} of ${limit}`);
    }
    for (const [name] of fields) assert.equal(name, name.toLowerCase());
  }
  assert.ok(total <= allowance.connection, `${total} bytes of ${allowance.connection}`);
  assert.ok(acks <= allowance.settings, "more acknowledgements than SETTINGS");
}
