/** How a request without a body ends at an endpoint of HTTP/2: servers of gRPC tell the two ways apart. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Lanes, type Lane } from "../../support/lanes.ts";
import { Flag, frame, FrameClient, FrameType } from "./frame-client.ts";
import { FramePeer } from "./frame-peer.ts";

let lanes: Lanes;
before(async () => {
  lanes = await Lanes.start({ kinds: { default: { count: 2, service: "protocol: http2" } } });
});
after(() => lanes.stop());

/** The endpoint's view of two requests, the first of which had to wait for its connection. */
async function twoRequests(lane: Lane, make: (client: FrameClient, id: number) => Buffer) {
  using client = await FrameClient.connect(lane.gateway.port);
  client.authority = lane.host;
  for (const id of [1, 3]) {
    client.send(make(client, id));
    assert.equal((await client.body(id)).toString(), "ok");
  }
}

async function lanePlaying(peers: FramePeer[]): Promise<Lane> {
  return lanes.lane(async (connection) => {
    const peer = new FramePeer(connection);
    peers.push(peer);
    for (let asked; (asked = await peer.request()) !== null;) {
      await peer.body(asked.id);
      peer.send(peer.ok(asked.id));
    }
  });
}

const ofStream = (peer: FramePeer, id: number): [type: number, flags: number][] =>
  peer.frames
    .filter((one) => one.streamId === id && one.type <= FrameType.headers)
    .map(({ type, flags }) => [type, flags]);

test("an end that came in a frame of its own goes on as one (gRPC over HTTP/2, Requests: EOS)", async () => {
  const peers: FramePeer[] = [];
  await using lane = await lanePlaying(peers);
  await twoRequests(lane, (client, id) =>
    Buffer.concat([client.open(id), frame(FrameType.data, Flag.endStream, id)]),
  );
  for (const id of [1, 3])
    assert.deepEqual(ofStream(peers[0]!, id), [
      [FrameType.headers, Flag.endHeaders],
      [FrameType.data, Flag.endStream],
    ]);
});

test("an end that came with the head goes on with it", async () => {
  const peers: FramePeer[] = [];
  await using lane = await lanePlaying(peers);
  await twoRequests(lane, (client, id) => client.get(id));
  for (const id of [1, 3])
    assert.deepEqual(ofStream(peers[0]!, id), [
      [FrameType.headers, Flag.endHeaders | Flag.endStream],
    ]);
});
