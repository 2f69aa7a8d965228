/** Random and mutated frames against a running gateway: it answers, resets or says goodbye, and never hangs, throws or leaks. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import fc from "fast-check";
import { eventually, within } from "../../support/eventually.ts";
import { Flag, FrameType, block, frame, type FrameClient } from "./frame-client.ts";
import { Serving } from "./serving.ts";

/** More of them in a night: WEFT_FUZZ_RUNS=100000; a failure prints its seed. */
const runs = Number(process.env["WEFT_FUZZ_RUNS"] ?? 150);

let serving: Serving;
before(async () => {
  serving = await Serving.start();
});
after(() => serving.stop());

const heads = [
  block([":method", "GET"], [":scheme", "http"], [":path", "/"], [":authority", "a"]),
  block([":method", "POST"], [":scheme", "http"], [":path", "/"], [":authority", "a"]),
  block([":method", "GET"], [":path", "/"]),
  block(["x-trailer", "1"]),
  Buffer.from([0x82, 0x86, 0x84, 0x41, 1, 0x61]),
  Buffer.from([0x82, 0x86, 0x84, 0xbe]),
  Buffer.from([0x20, 0x82]),
];
const streamId = fc.constantFrom(0, 1, 1, 3, 3, 5, 7, 2, 0x7fffffff);
const flags = fc.constantFrom(0, 1, 4, 5, 5, 8, 32, 0x2d, 255);
const payload = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...heads) },
  { weight: 3, arbitrary: fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      Buffer.alloc(4),
      Buffer.alloc(5),
      Buffer.alloc(8),
      Buffer.alloc(16_384),
    ),
  },
);
const anyFrame = fc
  .tuple(
    fc.oneof(fc.constantFrom(0, 1, 1, 1, 9), fc.integer({ min: 0, max: 17 })),
    flags,
    streamId,
    payload,
  )
  .map(([type, flag, id, bytes]) => frame(type, flag, id, bytes));

/** Everything is answered for: a PING comes back, or the connection has ended. */
async function settles(client: FrameClient): Promise<void> {
  const mark = Buffer.from("settled!");
  client.send(frame(FrameType.ping, 0, 0, mark));
  await client.until(
    "a PING back or the end",
    () =>
      client.ended ||
      client.frames.some((one) => one.type === FrameType.ping && one.payload.equals(mark)),
  );
}

/** What was not whole keeps the connection waiting, rightly: it is closed from here. */
async function run(bytes: Uint8Array): Promise<void> {
  using client = await serving.connect();
  client.send(bytes);
  client.socket.end();
  await within("the end", client.untilEnded());
}

test("random frames", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(anyFrame, { maxLength: 12 }), async (frames) => {
      await run(Buffer.concat(frames));
    }),
    { numRuns: runs, endOnFailure: true },
  );
});

test("whole requests with bytes changed", async () => {
  const session = Buffer.concat([
    frame(FrameType.headers, Flag.endHeaders | Flag.endStream, 1, heads[0]),
    frame(FrameType.headers, Flag.endHeaders, 3, heads[1]),
    frame(FrameType.data, 0, 3, Buffer.from("abc")),
    frame(FrameType.windowUpdate, 0, 0, Buffer.from([0, 0, 1, 0])),
    frame(FrameType.headers, Flag.endHeaders | Flag.endStream, 3, heads[3]),
    frame(FrameType.ping, 0, 0, Buffer.alloc(8)),
  ]);
  const change = fc.tuple(
    fc.integer({ min: 0, max: session.length - 1 }),
    fc.integer({ min: 0, max: 255 }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), async (changes) => {
      const bytes = Buffer.from(session);
      for (const [at, value] of changes) bytes[at] = value;
      await run(bytes);
    }),
    { numRuns: runs, endOnFailure: true },
  );
});

test("after all of it nothing is left over, and the gateway serves", async () => {
  await eventually(
    "no exchange",
    async () => (await serving.gateway.metric("weft_active_requests")) === 0,
  );
  await eventually(
    "no connection",
    async () => (await serving.gateway.metric("weft_connections", { side: "downstream" })) === 0,
  );
  using client = await serving.connect();
  client.send(client.get(1));
  assert.equal(await client.status(1), 200);
  await settles(client);
  assert.doesNotMatch(
    serving.gateway.stdout + serving.gateway.stderr,
    /internal error|TypeError|RangeError/,
  );
});
