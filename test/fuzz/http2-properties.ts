/** What holds for the HTTP/2 codecs on any bytes: made-up frames, and real sessions that were damaged. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { clientPreface } from "../../proxy/http2/frames.ts";
import { audit } from "./http2-audit.ts";
import { ask } from "./http2-client.ts";
import { serve } from "./http2-server.ts";
import { framesOf, meaning, mutated, pieces, WIPED } from "./http2-wire.ts";
import type { FuzzProperty } from "./property.ts";

/** The same frames leave and the same requests are heard, whatever the pieces; every frame is one that may leave. */
function server(bytes: fc.Arbitrary<Buffer>): fc.IAsyncProperty<unknown> {
  return fc.asyncProperty(bytes, pieces, async (stream, cuts) => {
    const whole = serve(stream, []);
    audit(whole.frames, stream, true);
    for (const { type, payload } of whole.frames)
      assert.ok(type !== 0 || payload.length < 100 || !payload.includes(WIPED), "bytes were kept");
    const cut = serve(stream, cuts);
    assert.deepEqual(cut.heard, whole.heard);
    assert.deepEqual(meaning(cut.frames), meaning(whole.frames));
  });
}

/** The same for a client; every request comes to one end, and nothing follows it. */
function client(bytes: fc.Arbitrary<Buffer>): fc.IAsyncProperty<unknown> {
  return fc.asyncProperty(bytes, pieces, async (stream, cuts) => {
    const whole = ask(stream, []);
    audit(whole.frames, stream, false);
    for (const heard of whole.heard) {
      const ends = heard.filter((what) => /^(end|failure)/.test(what));
      assert.equal(ends.length, 1, heard.join("; "));
      assert.equal(heard.at(-1), ends[0]);
      assert.ok(heard.filter((what) => what.startsWith("head")).length <= 1);
    }
    const cut = ask(stream, cuts);
    assert.deepEqual(cut.heard, whole.heard);
    assert.deepEqual(meaning(cut.frames), meaning(whole.frames));
  });
}

const withPreface = (bytes: Buffer): Buffer => Buffer.concat([clientPreface, bytes]);

export const http2Properties: readonly FuzzProperty[] = [
  {
    name: "HTTP/2: frames of a caller are served alike in any pieces",
    runs: 700,
    property: server(framesOf("caller").map(withPreface)),
  },
  {
    name: "HTTP/2: damaged sessions of callers are served alike in any pieces",
    runs: 700,
    property: server(mutated("caller")),
  },
  {
    name: "HTTP/2: frames of an endpoint are read alike in any pieces",
    runs: 700,
    property: client(framesOf("endpoint")),
  },
  {
    name: "HTTP/2: damaged sessions of endpoints are read alike in any pieces",
    runs: 700,
    property: client(mutated("endpoint")),
  },
];
