/** WebSockets to endpoints of HTTP/2: an extended CONNECT (RFC 8441) where they take it, an Upgrade of HTTP/1.1 where not. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { settingsFrame } from "../../../proxy/http2/frames.ts";
import { eventually } from "../../support/eventually.ts";
import { Lanes, type Lane } from "../../support/lanes.ts";
import type { OriginConnection } from "../../support/origin.ts";
import { over1, over2, switching } from "../../support/websocket-callers.ts";
import { ErrorCode, Flag, frame, FrameType, Setting, uint32 } from "./frame-client.ts";
import { FramePeer, type PeerRequest } from "./frame-peer.ts";

let lanes: Lanes;
before(async () => {
  lanes = await Lanes.start({
    kinds: {
      default: { count: 40, service: "protocol: http2", policy: "{ retry: { attempts: 0 } }" },
      auto: { count: 8, service: "protocol: auto", policy: "{ retry: { attempts: 0 } }" },
      hasty: {
        count: 4,
        service: "protocol: http2",
        policy: "{ timeout: 300ms, retry: { attempts: 0 } }",
      },
    },
    more: "observe: { accessLog: { format: json } }",
  });
});
after(() => lanes.stop());

const connects = [[Setting.enableConnectProtocol, 1]] as const;

/** The endpoint's connections, in order. */
interface Peers {
  readonly lane: Lane;
  readonly peers: FramePeer[];
}

async function offering(
  settings: readonly (readonly [number, number])[] | null = connects,
  kind = "default",
): Promise<Peers> {
  const peers: FramePeer[] = [];
  const lane = await lanes.lane((connection) => {
    peers.push(new FramePeer(connection, settings));
  }, kind);
  return { lane, peers };
}

async function asked({ lane, peers }: Peers): Promise<readonly [FramePeer, PeerRequest]> {
  await lane.origin.connection();
  await eventually("the endpoint", () => peers.length > 0);
  return [peers[0]!, (await peers[0]!.request())!];
}

const isReset = (one: { type: number; payload: Buffer }): boolean =>
  one.type === FrameType.rstStream && one.payload[3] === ErrorCode.cancel;

for (const [name, open] of [
  ["a caller of HTTP/1.1", over1],
  ["a caller of HTTP/2", over2],
] as const) {
  describe(name, () => {
    for (const kind of ["default", "auto"]) {
      test(`bytes go both ways beside other requests (${kind === "auto" ? "auto" : "http2"})`, async () => {
        const at = await offering(connects, kind);
        await using lane = at.lane;
        const opening = open(lane, { early: "first" });
        const [peer, request] = await asked(at);
        assert.equal(request.fields.get(":method"), "CONNECT");
        assert.equal(request.fields.get(":protocol"), "websocket");
        assert.equal(request.fields.get(":path"), "/ws");
        assert.equal(request.fields.get(":authority"), lane.host);
        assert.equal(request.fields.get("sec-websocket-version"), "13");
        for (const absent of ["sec-websocket-key", "upgrade", "connection"])
          assert.equal(request.fields.get(absent), undefined, absent);
        assert.equal(request.ended, false);
        peer.send(peer.head(request.id, 200, [["sec-websocket-protocol", "chat"]]));
        using caller = await opening;
        await peer.connection.until("the early bytes", () => {
          return peer.bodySoFar(request.id).toString() === "first";
        });
        peer.send(peer.data(request.id, "answer"));
        await caller.until("the answer", () => caller.received === "answer");
        // the connection carries other requests too
        using other = await lane.connect();
        await other.send(lane.head("GET /"));
        const plain = (await peer.request())!;
        assert.equal(plain.fields.get(":method"), "GET");
        peer.send(peer.ok(plain.id, "plain"));
        assert.equal((await other.response()).body, "plain");
        assert.equal(at.peers.length, 1);
      });
    }

    test("a caller that has ended is heard to its end, and hears the endpoint's", async () => {
      const at = await offering();
      await using lane = at.lane;
      const opening = open(lane);
      const [peer, { id }] = await asked(at);
      peer.send(peer.head(id, 200));
      using caller = await opening;
      caller.send("goodbye");
      caller.end();
      assert.equal((await peer.body(id)).toString(), "goodbye");
      peer.send(peer.data(id, "so long"), peer.data(id, "", Flag.endStream));
      await caller.until("the end", () => caller.ended);
      assert.equal(caller.received, "so long");
    });

    test("an endpoint that has ended hears the caller's last bytes", async () => {
      const at = await offering();
      await using lane = at.lane;
      const opening = open(lane);
      const [peer, { id }] = await asked(at);
      peer.send(peer.head(id, 200), peer.data(id, "done", Flag.endStream));
      using caller = await opening;
      await caller.until("the end", () => caller.ended);
      assert.equal(caller.received, "done");
      caller.send("noted");
      caller.end();
      assert.equal((await peer.body(id)).toString(), "noted");
      // an orderly end, and the connection serves on
      assert.ok(!peer.frames.some((one) => one.type === FrameType.rstStream));
    });

    test("a caller's abort is CANCEL at the endpoint", async () => {
      const at = await offering();
      await using lane = at.lane;
      const opening = open(lane);
      const [peer, { id }] = await asked(at);
      peer.send(peer.head(id, 200));
      using caller = await opening;
      caller.abort();
      await peer.frame("CANCEL", (one) => one.streamId === id && isReset(one));
    });

    for (const [how, cut] of [
      ["RST_STREAM", (peer: FramePeer, id: number) => peer.send(peer.reset(id, ErrorCode.cancel))],
      ["the end of the connection", (peer: FramePeer) => peer.connection.reset()],
    ] as const) {
      test(`an endpoint's abort by ${how} is an abort at the caller`, async () => {
        const at = await offering();
        await using lane = at.lane;
        const opening = open(lane);
        const [peer, { id }] = await asked(at);
        peer.send(peer.head(id, 200));
        using caller = await opening;
        cut(peer, id);
        await caller.until("the cut", () => caller.aborted);
      });
    }

    test("a refusal is heard, with its body", async () => {
      const at = await offering();
      await using lane = at.lane;
      const opening = open(lane, { status: 403 });
      const [peer, { id }] = await asked(at);
      peer.send(peer.head(id, 403), peer.data(id, "no", Flag.endStream));
      using caller = await opening;
      await caller.until("its end", () => caller.ended);
    });

    test("nothing is asked before the endpoint's SETTINGS: they may forbid it", async () => {
      const at = await offering(null);
      await using lane = at.lane;
      const opening = open(lane);
      await lane.origin.connection();
      await eventually("the endpoint", () => at.peers.length > 0);
      const [peer] = at.peers as [FramePeer];
      const isSettings = (one: { type: number }): boolean => one.type === FrameType.settings;
      await peer.frame("weft's SETTINGS", isSettings);
      assert.ok(!peer.frames.some((one) => one.type === FrameType.headers));
      peer.send(settingsFrame(connects));
      const { id } = (await peer.request())!;
      peer.send(peer.head(id, 200));
      using caller = await opening;
      caller.send("now");
      await peer.connection.until("the bytes", () => peer.bodySoFar(id).toString() === "now");
    });

    test("an endpoint that never sends SETTINGS is given up after timeout", async () => {
      const at = await offering(null, "hasty");
      await using lane = at.lane;
      using caller = await open(lane, { status: 504 });
      assert.equal(caller.aborted, false);
      assert.ok(!at.peers[0]!.frames.some((one) => one.type === FrameType.headers));
    });

    test("an endpoint that does not take it gets an Upgrade on a connection of its own", async () => {
      const upgraded: OriginConnection[] = [];
      await using lane = await lanes.lane(async (connection) => {
        await connection.until("bytes", () => connection.text.length > 24);
        if (connection.text.startsWith("PRI ")) return void new FramePeer(connection, []);
        await connection.head();
        upgraded.push(connection);
        connection.send(`${switching}hello`);
      });
      using caller = await open(lane);
      await caller.until("the bytes", () => caller.received === "hello");
      assert.match(upgraded[0]!.text, /^GET \/ws HTTP\/1\.1\r\n/);
    });

    test("both windows are kept to", async () => {
      const at = await offering([...connects, [Setting.initialWindowSize, 1000]]);
      await using lane = at.lane;
      const opening = open(lane);
      const [peer, { id }] = await asked(at);
      peer.send(peer.head(id, 200));
      using caller = await opening;
      caller.send("x".repeat(5000));
      await peer.connection.until("the window", () => peer.bodySoFar(id).length === 1000);
      peer.send(frame(FrameType.windowUpdate, 0, id, uint32(10_000)));
      await peer.connection.until("the rest", () => peer.bodySoFar(id).length === 5000);
      caller.end();
      await peer.body(id);
    });
  });
}

test("the accept value proves the key (RFC 6455 section 1.3)", async () => {
  const at = await offering();
  await using lane = at.lane;
  using client = await lane.connect();
  await client.send(
    lane.head(
      "GET /ws",
      "Connection: Upgrade",
      "Upgrade: websocket",
      "Sec-WebSocket-Version: 13",
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ),
  );
  const [peer, { id }] = await asked(at);
  peer.send(peer.head(id, 200, [["sec-websocket-protocol", "chat"]]));
  const answer = await client.response();
  assert.equal(answer.status, 101);
  assert.equal(answer.header("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  assert.equal(answer.header("sec-websocket-protocol"), "chat");
  assert.match(answer.header("connection")!, /upgrade/i);
  assert.equal(answer.header("upgrade"), "websocket");
});
