/** gRPC as frames: errors of ours, answers of trailers only, cancelled calls and retries, as they look on both wires. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { errorName, readUint32 } from "../../proxy/http2/frames.ts";
import {
  block,
  ErrorCode,
  Flag,
  frame,
  FrameClient,
  FrameType,
  uint32,
} from "../proxy/http2/frame-client.ts";
import { FramePeer } from "../proxy/http2/frame-peer.ts";
import { Lanes, type Lane } from "../support/lanes.ts";

type Pairs = readonly (readonly [string, string])[];

const { headers, data, rstStream } = FrameType;
const { endHeaders, endStream } = Flag;

/** Names that `retry.on` takes, and their codes. */
const retried = {
  cancelled: 1,
  unknown: 2,
  "deadline-exceeded": 4,
  "resource-exhausted": 8,
  aborted: 10,
  internal: 13,
  unavailable: 14,
} as const;

let lanes: Lanes;
before(async () => {
  const service = "protocol: http2";
  const once = "retry: { attempts: 0 }";
  const on = (names: string): string =>
    `{ retry: { attempts: 1, on: [${names}], backoff: { base: 1ms, max: 2ms } } }`;
  lanes = await Lanes.start({
    files: {
      "plugins/broken.ts": `
import { definePlugin } from "weft/plugin"
export default definePlugin({
  name: "broken", stage: "authz",
  setup: () => ({ request() { throw new Error("boom") } }),
})`,
    },
    kinds: {
      default: { count: 20, service, policy: `{ ${once} }` },
      denied: {
        count: 1,
        service,
        policy: `{ ${once} }`,
        plugins: "[{ ip-filter: { deny: [127.0.0.0/8] } }]",
      },
      broken: { count: 1, service, policy: `{ ${once} }`, plugins: "[./plugins/broken.ts]" },
      hurried: { count: 2, service, policy: `{ ${once}, attemptTimeout: 100ms }` },
      late: { count: 1, service, policy: `{ ${once}, timeout: 100ms }` },
      all: { count: 4, service, policy: on(Object.keys(retried).join(", ")) },
      ...Object.fromEntries(
        Object.keys(retried).map((name) => [`on-${name}`, { count: 2, service, policy: on(name) }]),
      ),
    },
  });
});
after(() => lanes.stop());

/** Endpoints that treat each call as told. */
function serving(
  play: (peer: FramePeer, id: number, call: number) => void | Promise<void>,
  kind = "default",
): Promise<Lane> {
  let calls = 0;
  return lanes.lane(async (connection) => {
    const peer = new FramePeer(connection);
    for (let call = await peer.request(); call !== null; call = await peer.request())
      await play(peer, call.id, ++calls);
  }, kind);
}

async function connect(lane: { readonly host: string }): Promise<FrameClient> {
  const client = await FrameClient.connect(lanes.gateway.port);
  client.authority = lane.host;
  return client;
}

/** The head of a call. */
function begin(client: FrameClient, path = "/test.Echo/Unary", ...more: Pairs): Buffer {
  return block(
    [":method", "POST"],
    [":scheme", "http"],
    [":path", path],
    [":authority", client.authority],
    ["content-type", "application/grpc"],
    ["te", "trailers"],
    ...more,
  );
}

/** A call with one message. */
function call(client: FrameClient, ...more: Pairs): void {
  client.send(
    frame(headers, endHeaders, 1, begin(client, undefined, ...more)),
    frame(data, endStream, 1, Buffer.from([0, 0, 0, 0, 1, 120])),
  );
}

/** The answer, which must be one of trailers only. */
async function trailersOnly(client: FrameClient): Promise<ReadonlyMap<string, string>> {
  const fields = await client.head(1);
  const own = client.frames.filter(({ streamId, type }) => streamId === 1 && type <= headers);
  assert.equal(own.length, 1);
  assert.equal(own[0]!.flags & endStream, endStream);
  assert.equal(fields.get(":status"), "200");
  assert.match(fields.get("content-type")!, /^application\/grpc/);
  return fields;
}

const status = (code: number, ...more: Pairs): Buffer =>
  block(
    [":status", "200"],
    ["content-type", "application/grpc"],
    ["grpc-status", String(code)],
    ...more,
  );
const only = (id: number, code: number, ...more: Pairs): Buffer =>
  frame(headers, endHeaders | endStream, id, status(code, ...more));
/** Head, a message and the trailers of a call that went well. */
const good = (id: number): Buffer =>
  Buffer.concat([
    frame(headers, endHeaders, id, block([":status", "200"], ["content-type", "application/grpc"])),
    frame(data, 0, id, Buffer.from([0, 0, 0, 0, 1, 121])),
    frame(headers, endHeaders | endStream, id, block(["grpc-status", "0"])),
  ]);

describe("an error of ours is trailers only, with the status of CONTRACT section 4 and the cause:", () => {
  const isOurs = async (client: FrameClient, code: string, grpc: number): Promise<void> => {
    const fields = await trailersOnly(client);
    assert.equal(fields.get("grpc-status"), String(grpc));
    assert.match(fields.get("grpc-message")!, /^[\x21-\x7e]+$/);
    assert.match(fields.get("proxy-status")!, new RegExp(`^weft; error=\\w+; details="${code}: `));
  };

  test("bad-request is 3", async () => {
    await using lane = await serving(() => {});
    using client = await connect(lane);
    client.send(frame(headers, endHeaders | endStream, 1, begin(client, "/a%2Fb")));
    await isOurs(client, "bad-request", 3);
  });

  test("header-too-large is 8", async () => {
    await using lane = await serving(() => {});
    using client = await connect(lane);
    const large = Array.from({ length: 5 }, (_, i) => [`x-${i}`, "y".repeat(15_000)] as const);
    const whole = begin(client, "/x", ...large);
    client.send(frame(headers, endStream, 1, whole.subarray(0, 10_000)));
    for (let at = 10_000; at < whole.length; at += 10_000) {
      const last = at + 10_000 >= whole.length ? endHeaders : 0;
      client.send(frame(FrameType.continuation, last, 1, whole.subarray(at, at + 10_000)));
    }
    await isOurs(client, "header-too-large", 8);
  });

  for (const [kind, code, grpc] of [
    ["denied", "forbidden", 7],
    ["broken", "plugin-error", 13],
    ["hurried", "attempt-timeout", 4],
    ["late", "deadline-exceeded", 4],
  ] as const)
    test(`${code} is ${grpc}`, async () => {
      await using lane = await serving(() => {}, kind);
      using client = await connect(lane);
      call(client);
      await isOurs(client, code, grpc);
    });

  test("upstream-reset is 14, whatever the endpoint's code", async () => {
    for (const code of [ErrorCode.internalError, ErrorCode.cancel, ErrorCode.enhanceYourCalm]) {
      await using lane = await serving((peer, id) => peer.send(peer.reset(id, code)));
      using client = await connect(lane);
      call(client);
      await isOurs(client, "upstream-reset", 14);
    }
  });

  test("upstream-invalid is 14", async () => {
    await using lane = await serving((peer, id) => peer.send(peer.head(id, 101)));
    using client = await connect(lane);
    call(client);
    await isOurs(client, "upstream-invalid", 14);
  });
});

describe("what the service says", () => {
  test("in trailers only arrives in trailers only, with every field", async () => {
    await using lane = await serving((peer, id) =>
      peer.send(only(id, 5, ["grpc-message", "no%20such%20thing"], ["x-details-bin", "AAEC"])),
    );
    using client = await connect(lane);
    call(client);
    const fields = await trailersOnly(client);
    assert.equal(fields.get("grpc-status"), "5");
    assert.equal(fields.get("grpc-message"), "no%20such%20thing");
    assert.equal(fields.get("x-details-bin"), "AAEC");
  });

  test("in trailers arrives behind the messages", async () => {
    await using lane = await serving((peer, id) => peer.send(good(id)));
    using client = await connect(lane);
    call(client);
    assert.deepEqual(await client.body(1), Buffer.from([0, 0, 0, 0, 1, 121]));
    const last = client.frames.filter((one) => one.streamId === 1).at(-1)!;
    assert.deepEqual(last.fields, [["grpc-status", "0"]]);
    assert.equal(last.flags & endStream, endStream);
  });

  test("before the caller has sent everything arrives at once", async () => {
    await using lane = await serving((peer, id) => peer.send(only(id, 8)));
    using client = await connect(lane);
    client.send(frame(headers, endHeaders, 1, begin(client)));
    assert.equal((await trailersOnly(client)).get("grpc-status"), "8");
  });
});

describe("cancelled calls:", () => {
  const resetOf = async (lane: Lane, peer: FramePeer): Promise<string> => {
    await lane.origin.until("a call", () => peer.frames.length > 0);
    const { payload } = await peer.frame("RST_STREAM", (one) => one.type === rstStream);
    return errorName(readUint32(payload, 0));
  };

  test("the caller's RST_STREAM reaches the service as CANCEL", async () => {
    const peers: FramePeer[] = [];
    await using lane = await serving((peer) => void peers.push(peer));
    using client = await connect(lane);
    call(client);
    await lane.origin.until("the call", () => peers.length > 0);
    client.send(frame(rstStream, 0, 1, uint32(ErrorCode.cancel)));
    assert.equal(await resetOf(lane, peers[0]!), "CANCEL");
  });

  test("a deadline of ours does the same", async () => {
    const peers: FramePeer[] = [];
    await using lane = await serving((peer) => void peers.push(peer), "hurried");
    using client = await connect(lane);
    call(client);
    assert.equal((await trailersOnly(client)).get("grpc-status"), "4");
    assert.equal(await resetOf(lane, peers[0]!), "CANCEL");
  });

  test("a service that gives up in the middle ends the call with a status", async () => {
    await using lane = await serving((peer, id) => {
      peer.send(peer.head(id, 200, [["content-type", "application/grpc"]]));
      peer.send(peer.data(id, Buffer.from([0, 0, 0, 0, 1, 121])), peer.reset(id, ErrorCode.cancel));
    });
    using client = await connect(lane);
    call(client);
    await client.body(1);
    const last = client.frames.filter((one) => one.streamId === 1).at(-1)!;
    assert.equal(last.flags & endStream, endStream);
    assert.equal(new Map(last.fields).get("grpc-status"), "14");
  });
});

describe("retries by code:", () => {
  const key: Pairs = [["idempotency-key", "1"]];

  for (const [name, code] of Object.entries(retried)) {
    test(`${name} is ${code}`, async () => {
      await using lane = await serving(
        (peer, id, count) => peer.send(count === 1 ? only(id, code) : good(id)),
        `on-${name}`,
      );
      using client = await connect(lane);
      call(client, ...key);
      assert.equal((await client.head(1)).get("x-weft-attempts"), "2");
    });

    test(`${name} is no other code`, async () => {
      const other = code === 14 ? 13 : 14;
      await using lane = await serving((peer, id) => peer.send(only(id, other)), `on-${name}`);
      using client = await connect(lane);
      call(client, ...key);
      const fields = await trailersOnly(client);
      assert.equal(fields.get("grpc-status"), String(other));
      assert.equal(fields.get("x-weft-attempts"), undefined);
    });
  }

  for (const pushback of ["-1", "soon", ""])
    test(`a pushback of "${pushback}" forbids another try`, async () => {
      await using lane = await serving(
        (peer, id) => peer.send(only(id, 14, ["grpc-retry-pushback-ms", pushback])),
        "all",
      );
      using client = await connect(lane);
      call(client, ...key);
      assert.equal((await trailersOnly(client)).get("x-weft-attempts"), undefined);
    });

  test("a code behind a head is final: the caller has seen the head", async () => {
    await using lane = await serving((peer, id) => {
      peer.send(peer.head(id, 200, [["content-type", "application/grpc"]]));
      peer.send(frame(headers, endHeaders | endStream, id, block(["grpc-status", "14"])));
    }, "all");
    using client = await connect(lane);
    call(client, ...key);
    await client.body(1);
    const last = client.frames.filter((one) => one.streamId === 1).at(-1)!;
    assert.deepEqual(last.fields, [["grpc-status", "14"]]);
  });
});
