/** Endpoints that break HTTP/2, with raw frames: the caller gets an answer, the connection the RFC's error, and nothing leaks. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { readUint32 } from "../../../proxy/http2/frames.ts";
import { Lanes, type Lane } from "../../support/lanes.ts";
import type { OriginConnection } from "../../support/origin.ts";
import type { RawClient } from "../../support/raw-client.ts";
import { block, ErrorCode, Flag, frame, FrameType, Setting, uint32 } from "./frame-client.ts";
import { FramePeer } from "./frame-peer.ts";

let lanes: Lanes;
before(async () => {
  const service = "protocol: http2";
  lanes = await Lanes.start({
    kinds: {
      default: { count: 90, service, policy: "{ retry: { attempts: 0 } }" },
      retry: { count: 20, service, policy: "{ retry: { attempts: 1 } }" },
      pair: {
        count: 6,
        service,
        endpoints: 2,
        policy: "{ retry: { attempts: 1 }, balance: round-robin }",
      },
      quick: { count: 6, service, policy: "{ timeout: 300ms, retry: { attempts: 0 } }" },
      auto: { count: 6, service: "protocol: auto" },
    },
  });
});
after(() => lanes.stop());

type Settings = readonly (readonly [number, number])[] | null;
type Play = (peer: FramePeer) => Promise<void>;

/** Every connection of the lane plays the same. */
function playing(
  play: Play,
  settings: Settings = [],
): (connection: OriginConnection) => Promise<void> {
  return (connection) => play(new FramePeer(connection, settings));
}

async function asking(lane: Lane): Promise<RawClient> {
  const client = await lane.connect();
  await client.send(lane.head("GET /"));
  return client;
}

function goawayCode(peer: FramePeer): Promise<number> {
  return peer
    .frame("GOAWAY", (one) => one.type === FrameType.goaway)
    .then((one) => readUint32(one.payload, 4));
}

const WHOLE = Flag.endHeaders | Flag.endStream;
const many = (count: number, one: Buffer): Buffer =>
  Buffer.concat(Array.from({ length: count }, () => one));

test("section 6.10: empty DATA frames without end are a flood, and the caller sees a cut", async () => {
  await using lane = await lanes.lane(
    playing(async (peer) => {
      const { id } = (await peer.request())!;
      peer.send(peer.head(id, 200), many(10_000, peer.data(id, "")));
      assert.equal(await goawayCode(peer), ErrorCode.enhanceYourCalm);
    }),
  );
  using client = await asking(lane);
  const text = await client.untilEnded();
  assert.match(text, /^HTTP\/1.1 200/);
  assert.ok(!text.endsWith("0\r\n\r\n"), text);
  assert.deepEqual(lane.origin.failures, []);
});

describe("an answer that breaks after its head is a cut that the caller sees:", () => {
  const cuts: Record<string, (peer: FramePeer, id: number) => Buffer> = {
    RST_STREAM: (peer, id) => peer.reset(id, ErrorCode.internalError),
    "RST_STREAM with NO_ERROR": (peer, id) => peer.reset(id, ErrorCode.noError),
    "section 8.1.1: more than its length": (peer, id) => peer.data(id, "x".repeat(100)),
    "section 8.1.1: less than its length": (peer, id) => peer.data(id, "x", Flag.endStream),
    "section 8.1: a second head": (peer, id) => peer.head(id, 200),
    "section 8.1: pseudo-header fields in the trailers": (_, id) =>
      frame(FrameType.headers, WHOLE, id, block([":status", "200"])),
    "section 6.9.1: more than the window": (peer, id) =>
      many(80, peer.data(id, "x".repeat(16_000))),
  };
  for (const [name, bytes] of Object.entries(cuts))
    test(name, async () => {
      await using lane = await lanes.lane(
        playing(async (peer) => {
          const { id } = (await peer.request())!;
          peer.send(peer.head(id, 200, [["content-length", "50"]]), peer.data(id, "start"));
          peer.send(bytes(peer, id));
        }),
      );
      using client = await asking(lane);
      const text = await client.untilEnded();
      assert.match(text, /^HTTP\/1.1 200/);
      assert.ok(text.length - text.indexOf("\r\n\r\n") - 4 < 50, text);
    });

  test("a lost connection", async () => {
    await using lane = await lanes.lane(
      playing(async (peer) => {
        const { id } = (await peer.request())!;
        peer.send(peer.head(id, 200), peer.data(id, "start"));
        await lane.origin.until(
          "the bytes to leave",
          () => peer.connection.socket.writableLength === 0,
        );
        peer.connection.reset();
      }),
    );
    using client = await asking(lane);
    const text = await client.untilEnded();
    assert.ok(!text.endsWith("0\r\n\r\n"), text);
  });
});

describe("what an endpoint says it has not processed is sent again, whatever it is:", () => {
  const post = (lane: Lane): string => `${lane.head("POST /", "Content-Length: 4")}body`;

  test("REFUSED_STREAM: a POST goes to the other endpoint", async () => {
    let requests = 0;
    await using lane = await lanes.lane(
      playing(async (peer) => {
        for (let one = await peer.request(); one !== null; one = await peer.request()) {
          const body = await peer.body(one.id);
          peer.send(
            ++requests === 1
              ? peer.reset(one.id, ErrorCode.refusedStream)
              : peer.ok(one.id, `got ${String(body)}`),
          );
        }
      }),
      "pair",
    );
    using client = await lane.connect();
    await client.send(post(lane));
    const answer = await client.response();
    assert.deepEqual([answer.status, answer.body], [200, "got body"]);
    assert.equal(answer.header("x-weft-attempts"), "2");
    assert.deepEqual(
      lane.origins.map((origin) => origin.connections.length),
      [1, 1],
    );
  });

  test("section 6.8: GOAWAY with a lower last id: a POST goes again on a new connection", async () => {
    await using lane = await lanes.lane(
      playing(async (peer) => {
        const one = await peer.request();
        if (one === null) return;
        await peer.body(one.id);
        if (peer.connection.index === 0) peer.send(peer.goaway(0, ErrorCode.noError));
        else peer.send(peer.ok(one.id, "second"));
      }),
      "retry",
    );
    using client = await lane.connect();
    await client.send(post(lane));
    assert.equal((await client.response()).body, "second");
    assert.equal(lane.origin.connections.length, 2);
  });

  test("section 6.8: GOAWAY keeps what it took: the answer still comes, the next request goes elsewhere", async () => {
    await using lane = await lanes.lane(
      playing(async (peer) => {
        const one = (await peer.request())!;
        if (peer.connection.index > 0) return peer.send(peer.ok(one.id, "second"));
        peer.send(
          peer.goaway(one.id, ErrorCode.noError),
          peer.head(one.id, 200),
          peer.data(one.id, "first"),
        );
        await peer.frame("the acknowledgement", (frame) => frame.type === FrameType.settings);
        peer.send(peer.data(one.id, "", Flag.endStream));
      }),
      "retry",
    );
    using client = await asking(lane);
    assert.equal((await client.response()).body, "first");
    await client.send(lane.head("GET /"));
    assert.equal((await client.response()).body, "second");
  });

  test("a POST that was reset in any other way is not sent again", async () => {
    let requests = 0;
    await using lane = await lanes.lane(
      playing(async (peer) => {
        for (let one = await peer.request(); one !== null; one = await peer.request()) {
          requests++;
          await peer.body(one.id);
          peer.send(peer.reset(one.id, ErrorCode.internalError));
        }
      }),
      "retry",
    );
    using client = await lane.connect();
    await client.send(post(lane));
    const answer = await client.response();
    assert.deepEqual([answer.status, answer.code, requests], [502, "upstream-reset", 1]);
  });

  test("a GET lost with a connection that has served before is sent again to its only endpoint", async () => {
    await using lane = await lanes.lane(
      playing(async (peer) => {
        const first = (await peer.request())!;
        peer.send(peer.ok(first.id, `${peer.connection.index}`));
        if ((await peer.request()) !== null && peer.connection.index === 0) peer.connection.reset();
      }),
    );
    using client = await asking(lane);
    assert.equal((await client.response()).body, "0");
    await client.send(lane.head("GET /"));
    assert.equal((await client.response()).body, "1");
  });
});

describe("section 6.8: GOAWAY", () => {
  const gone = (lastId: number, code: number = ErrorCode.noError) => {
    return (peer: FramePeer): Buffer => peer.goaway(lastId, code);
  };

  test("of the highest stream announces the end: what runs is answered, what is new goes elsewhere", async () => {
    await using lane = await lanes.lane(
      playing(async (peer) => {
        const { index } = peer.connection;
        for (let one = await peer.request(); one !== null; one = await peer.request()) {
          if (index === 0) peer.send(gone(0x7fffffff)(peer));
          peer.send(peer.ok(one.id, String(index)));
        }
      }),
    );
    using client = await asking(lane);
    assert.equal((await client.response()).body, "0");
    await client.send(lane.head("GET /"));
    assert.equal((await client.response()).body, "1");
    await lane.origin.connections[0]!.untilEnded();
  });

  test("a second time with a lower stream gives up what is above it: a POST goes again", async () => {
    await using lane = await lanes.lane(
      playing(async (peer) => {
        const one = await peer.request();
        if (one === null) return;
        await peer.body(one.id);
        if (peer.connection.index > 0) return peer.send(peer.ok(one.id, "again"));
        peer.send(gone(0x7fffffff)(peer), gone(0)(peer));
      }),
      "retry",
    );
    using client = await lane.connect();
    await client.send(`${lane.head("POST /", "Content-Length: 4")}body`);
    assert.equal((await client.response()).body, "again");
  });

  for (const [name, code] of [
    ["with an error", ErrorCode.enhanceYourCalm],
    ["with a code that nobody knows", 0xdeadbeef],
  ] as const)
    test(`${name} still answers the streams that it names`, async () => {
      await using lane = await lanes.lane(
        playing(async (peer) => {
          const { id } = (await peer.request())!;
          peer.send(gone(id, code)(peer), peer.ok(id, "answered"));
        }),
      );
      using client = await asking(lane);
      assert.equal((await client.response()).body, "answered");
    });

  test("and then the end, with a POST taken and not answered, is 502 and no second try", async () => {
    let requests = 0;
    await using lane = await lanes.lane(
      playing(async (peer) => {
        const one = await peer.request();
        if (one === null) return;
        requests++;
        await peer.body(one.id);
        peer.send(gone(one.id)(peer));
        peer.connection.end();
      }),
      "retry",
    );
    using client = await lane.connect();
    await client.send(`${lane.head("POST /", "Content-Length: 4")}body`);
    assert.equal((await client.response()).code, "upstream-reset");
    assert.equal(requests, 1);
  });

  test("between two requests sends the next one to a new connection", async () => {
    await using lane = await lanes.lane(
      playing(async (peer) => {
        const { id } = (await peer.request())!;
        peer.send(peer.ok(id, String(peer.connection.index)));
        peer.send(gone(id)(peer));
      }),
    );
    for (const index of ["0", "1", "2"]) {
      using client = await asking(lane);
      assert.equal((await client.response()).body, index);
      await lane.origin.connections[Number(index)]!.untilEnded();
    }
  });

  test("of a connection that is over in the middle of an upload gives the caller an answer", async () => {
    await using lane = await lanes.lane(
      playing(async (peer) => {
        const { id } = (await peer.request())!;
        peer.send(gone(id, ErrorCode.internalError)(peer), peer.reset(id, ErrorCode.internalError));
      }),
    );
    using client = await lane.connect();
    await client.send(`${lane.head("POST /", "Content-Length: 100000")}start`);
    assert.equal((await client.response()).code, "upstream-reset");
  });
});

describe("an endpoint that turns everything down", () => {
  for (const [name, code] of [
    ["CANCEL", ErrorCode.cancel],
    ["ENHANCE_YOUR_CALM", ErrorCode.enhanceYourCalm],
    ["HTTP_1_1_REQUIRED", ErrorCode.http11Required],
    ["an unknown code", 0xdeadbeef],
  ] as const)
    test(`by RST_STREAM with ${name} is 502 each time, on one connection`, async () => {
      await using lane = await lanes.lane(
        playing(async (peer) => {
          for (let one = await peer.request(); one !== null; one = await peer.request())
            peer.send(peer.reset(one.id, code));
        }),
      );
      for (let i = 0; i < 5; i++) {
        using client = await lane.connect();
        await client.send(lane.head("POST /", "Content-Length: 0"));
        assert.equal((await client.response()).code, "upstream-reset");
      }
      assert.equal(lane.origin.connections.length, 1);
    });

  test("by allowing no streams is asked on connections of their own, and answers", async () => {
    await using lane = await lanes.lane(
      playing(
        async (peer) => {
          for (let one = await peer.request(); one !== null; one = await peer.request())
            peer.send(peer.ok(one.id, "late"));
        },
        [[Setting.maxConcurrentStreams, 0]],
      ),
    );
    for (let i = 0; i < 3; i++) {
      using client = await asking(lane);
      assert.equal((await client.response()).body, "late");
    }
  });
});

describe("windows:", () => {
  test("section 6.9.2: an initial window of zero: the body waits, and goes as the window opens", async () => {
    await using lane = await lanes.lane(
      playing(
        async (peer) => {
          const first = (await peer.request())!;
          await peer.frame(
            "the acknowledgement",
            (one) => one.type === FrameType.settings && one.flags === Flag.ack,
          );
          peer.send(peer.ok(first.id));
          const { id } = (await peer.request())!;
          for (let have = 0; have < 5; have++) {
            assert.equal(peer.bodySoFar(id).length, have);
            peer.send(frame(FrameType.windowUpdate, 0, id, uint32(1)));
            await peer.frame(`byte ${have}`, () => peer.bodySoFar(id).length > have);
          }
          peer.send(peer.ok(id, String(await peer.body(id))));
        },
        [[Setting.initialWindowSize, 0]],
      ),
    );
    using client = await asking(lane);
    await client.response();
    await client.send(`${lane.head("POST /", "Content-Length: 5")}hello`);
    assert.equal((await client.response()).body, "hello");
    assert.deepEqual(lane.origin.failures, []);
  });

  test("a window that never opens ends with the timeout of the request, not with a hang", async () => {
    await using lane = await lanes.lane(
      playing(async (peer) => void (await peer.request()), [[Setting.initialWindowSize, 0]]),
      "quick",
    );
    using client = await lane.connect();
    await client.send(`${lane.head("POST /", "Content-Length: 100000")}${"x".repeat(100_000)}`);
    assert.equal((await client.response()).status, 504);
  });

  test("section 6.9.2: a smaller initial window makes windows negative, and is obeyed", async () => {
    await using lane = await lanes.lane(
      playing(async (peer) => {
        const { id } = (await peer.request())!;
        await peer.frame("the first window's bytes", () => peer.bodySoFar(id).length === 65_535);
        peer.send(frame(FrameType.settings, 0, 0, Buffer.from([0, 4, 0, 0, 0, 100])));
        peer.send(frame(FrameType.windowUpdate, 0, 0, uint32(100_000)));
        // 65,535 were sent on a window of now 100: this opens one byte
        peer.send(frame(FrameType.windowUpdate, 0, id, uint32(65_436)));
        await peer.frame("one byte more", () => peer.bodySoFar(id).length > 65_535);
        assert.equal(peer.bodySoFar(id).length, 65_536);
        peer.send(frame(FrameType.windowUpdate, 0, id, uint32(100_000)));
        peer.send(peer.ok(id, String((await peer.body(id)).length)));
      }),
    );
    using client = await lane.connect();
    await client.send(`${lane.head("POST /", "Content-Length: 100000")}${"x".repeat(100_000)}`);
    assert.equal((await client.response()).body, "100000");
    assert.deepEqual(lane.origin.failures, []);
  });
});

describe("answers:", () => {
  test("informational ones, the final one and trailers arrive as HTTP/1.1 has them", async () => {
    await using lane = await lanes.lane(
      playing(async (peer) => {
        const { id } = (await peer.request())!;
        peer.send(
          peer.head(id, 103, [["link", "</a.css>; rel=preload"]]),
          peer.head(id, 200),
          peer.data(id, "body"),
          frame(FrameType.headers, WHOLE, id, block(["x-sum", "42"])),
        );
      }),
    );
    using client = await asking(lane);
    const early = await client.response();
    assert.deepEqual([early.status, early.header("link")], [103, "</a.css>; rel=preload"]);
    const answer = await client.response();
    assert.equal(answer.body, "body");
    assert.deepEqual(answer.message.trailers, [["x-sum", "42"]]);
  });

  test("section 8.1: an answer before the end of the request arrives, and the rest is given up with NO_ERROR", async () => {
    await using lane = await lanes.lane(
      playing(async (peer) => {
        const { id } = (await peer.request())!;
        peer.send(peer.head(id, 413), peer.data(id, "too much", Flag.endStream));
        const reset = await peer.frame("RST_STREAM", (one) => one.type === FrameType.rstStream);
        assert.equal(readUint32(reset.payload, 0), ErrorCode.noError);
      }),
    );
    using client = await lane.connect();
    await client.send(`${lane.head("POST /", "Content-Length: 100000")}start`);
    const answer = await client.response();
    assert.deepEqual([answer.status, answer.body], [413, "too much"]);
    assert.deepEqual(lane.origin.failures, []);
  });

  test("section 8.1: RST_STREAM with NO_ERROR after a whole answer is no failure of it", async () => {
    await using lane = await lanes.lane(
      playing(async (peer) => {
        const { id } = (await peer.request())!;
        peer.send(peer.ok(id, "done"), peer.reset(id, ErrorCode.noError));
      }),
    );
    using client = await lane.connect();
    await client.send(`${lane.head("POST /", "Content-Length: 100000")}start`);
    assert.equal((await client.response()).body, "done");
  });

  for (const [name, method, status, fields] of [
    ["HEAD with the length of another body", "HEAD", 200, [["content-length", "1234"]]],
    ["204", "GET", 204, []],
    [
      "304 with a length",
      "GET",
      304,
      [
        ["content-length", "99"],
        ["etag", '"x"'],
      ],
    ],
  ] as const)
    test(`no body: ${name}`, async () => {
      await using lane = await lanes.lane(
        playing(async (peer) => {
          for (let one = await peer.request(); one !== null; one = await peer.request())
            peer.send(
              frame(
                FrameType.headers,
                WHOLE,
                one.id,
                block([":status", String(status)], ...fields),
              ),
            );
        }),
      );
      using client = await lane.connect();
      for (let i = 0; i < 2; i++) {
        await client.send(lane.head(`${method} /`));
        const answer = await client.response({ noBody: true });
        assert.equal(answer.status, status);
        assert.equal(client.rest, "");
      }
    });

  test("DATA in an answer to HEAD is malformed", async () => {
    await using lane = await lanes.lane(
      playing(async (peer) => {
        const { id } = (await peer.request())!;
        peer.send(peer.ok(id, "forbidden"));
        await peer.frame("RST_STREAM", (one) => one.type === FrameType.rstStream);
      }),
    );
    using client = await lane.connect();
    await client.send(lane.head("HEAD /"));
    assert.doesNotMatch(await client.untilEnded(), /forbidden/);
  });

  test("a caller that goes away resets its stream alone", async () => {
    await using lane = await lanes.lane(
      playing(async (peer) => {
        const first = (await peer.request())!;
        const second = (await peer.request())!;
        peer.send(peer.head(first.id, 200), peer.data(first.id, "x"));
        const reset = await peer.frame("RST_STREAM", (one) => one.type === FrameType.rstStream);
        assert.deepEqual(
          [reset.streamId, readUint32(reset.payload, 0)],
          [first.id, ErrorCode.cancel],
        );
        peer.send(peer.ok(second.id, "alive"));
      }),
    );
    const leaving = await asking(lane);
    await (await lane.origin.connection()).bytes(100);
    using staying = await asking(lane);
    await leaving.has("HTTP/1.1 200");
    leaving.reset();
    assert.equal((await staying.response()).body, "alive");
    assert.deepEqual(lane.origin.failures, []);
  });
});

describe("many streams:", () => {
  test("section 5.1.2: no more at once than the endpoint allows; the rest have connections of their own", async () => {
    const most = new Map<number, number>();
    await using lane = await lanes.lane(
      playing(
        async (peer) => {
          let open = 0;
          for (let one = await peer.request(); one !== null; one = await peer.request()) {
            const { id } = one;
            open++;
            most.set(peer.connection.index, Math.max(open, most.get(peer.connection.index) ?? 0));
            setImmediate(() => {
              open--;
              peer.send(peer.ok(id, "x"));
            });
          }
        },
        [[Setting.maxConcurrentStreams, 3]],
      ),
    );
    using first = await asking(lane);
    await first.response();
    most.clear();
    const clients = await Promise.all(Array.from({ length: 30 }, () => asking(lane)));
    for (const client of clients) assert.equal((await client.response()).status, 200);
    for (const client of clients) client.destroy();
    assert.ok(lane.origin.connections.length > 1);
    assert.ok((most.get(0) ?? 0) <= 3, String(most.get(0)));
  });
});

describe("protocol: auto learns", () => {
  test("HTTP/2 from SETTINGS", async () => {
    await using lane = await lanes.lane(
      playing(async (peer) => {
        for (let one = await peer.request(); one !== null; one = await peer.request())
          peer.send(peer.ok(one.id));
      }),
      "auto",
    );
    using client = await asking(lane);
    assert.equal((await client.response()).body, "ok");
  });

  for (const [name, refuse] of [
    ["a hang-up on the preface", (c: OriginConnection) => c.end()],
    [
      "a 400 in HTTP/1.1",
      (c: OriginConnection) => (
        c.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
        c.end()
      ),
    ],
  ] as const)
    test(`HTTP/1.1 from ${name}`, async () => {
      await using lane = await lanes.lane(async (connection) => {
        if ((await connection.head())?.startsWith("PRI ") === true) return refuse(connection);
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none");
      }, "auto");
      using client = await asking(lane);
      assert.equal((await client.response()).body, "one");
    });
});
