/** Answers before the answer: 100-continue end to end, 103 passed on, floods cut. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Lanes } from "../support/lanes.ts";
import { ok } from "../support/origin.ts";

let lanes: Lanes;
before(async () => {
  lanes = await Lanes.start({ kinds: { default: { count: 20 } } });
});
after(() => lanes.stop());

test("100-continue: the endpoint is asked, its 100 comes back, then the body goes", async () => {
  await using lane = await lanes.lane(async (connection) => {
    const head = await connection.head();
    assert.match(head!, /\r\nExpect: 100-continue\r\n/i);
    connection.send("HTTP/1.1 100 Continue\r\n\r\n");
    await connection.has("hello");
    connection.send(ok("done"));
  });
  using client = await lane.connect();
  await client.send(lane.head("POST /x", "Content-Length: 5", "Expect: 100-continue"));
  assert.equal((await client.response()).status, 100);
  assert.doesNotMatch(lane.origin.text, /hello/);
  await client.send("hello");
  const answer = await client.response();
  assert.equal(answer.body, "done");
  assert.deepEqual(lane.origin.failures, []);
});

test("100-continue: no 100 is made up before the endpoint agrees", async () => {
  await using lane = await lanes.lane(async (connection) => {
    await connection.head();
    connection.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno");
  });
  using client = await lane.connect();
  await client.send(lane.head("POST /x", "Content-Length: 5", "Expect: 100-continue"));
  const answer = await client.response();
  assert.equal(answer.status, 417);
  assert.equal(answer.body, "no");
});

test("100-continue: a caller who does not wait is served all the same", async () => {
  await using lane = await lanes.lane(async (connection) => {
    await connection.head();
    connection.send("HTTP/1.1 100 Continue\r\n\r\n");
    await connection.has("hello");
    connection.send(ok("done"));
  });
  using client = await lane.connect();
  await client.send(lane.head("POST /x", "Content-Length: 5", "Expect: 100-continue") + "hello");
  let answer = await client.response();
  if (answer.status === 100) answer = await client.response();
  assert.equal(answer.body, "done");
});

test("100-continue towards an endpoint that refuses the connection: 502, no 100", async () => {
  const lane = lanes.closedLane();
  using client = await lanes.gateway.connect();
  await client.send(
    `POST /x HTTP/1.1\r\nHost: ${lane.host}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n`,
  );
  const answer = await client.response();
  assert.equal(answer.status, 502);
  assert.equal(answer.code, "connect-refused");
});

test("103 Early Hints goes on to the caller, fields and all", async () => {
  await using lane = await lanes.lane(async (connection) => {
    await connection.request();
    connection.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n");
    await connection.until("the caller to have the hints", () => hinted);
    connection.send(ok("body"));
  });
  let hinted = false;
  using client = await lane.connect();
  await client.send(lane.head("GET /"));
  const hints = await client.response();
  assert.equal(hints.status, 103);
  assert.equal(hints.header("link"), "</a.css>; rel=preload");
  assert.equal(hints.header("content-length"), undefined);
  hinted = true;
  lane.origin.connections[0]!.wake();
  assert.equal((await client.response()).body, "body");
});

test("several 1xx before the answer, byte by byte", async () => {
  await using lane = await lanes.lane(async (connection) => {
    await connection.request();
    await connection.sendBytes(
      "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n" + ok("body"),
    );
  });
  using client = await lane.connect();
  await client.send(lane.head("GET /"));
  assert.equal((await client.response()).status, 102);
  assert.equal((await client.response()).status, 103);
  assert.equal((await client.response()).body, "body");
});

test("a caller of HTTP/1.0 sees no 1xx", async () => {
  await using lane = await lanes.lane(async (connection) => {
    await connection.request();
    connection.send("HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n" + ok("body"));
  });
  using client = await lane.connect();
  await client.send(`GET / HTTP/1.0\r\nHost: ${lane.host}\r\n\r\n`);
  assert.match(await client.untilEnded(), /^HTTP\/1\.1 200 /);
});

test("a flood of 1xx ends in 502", async () => {
  await using lane = await lanes.lane(async (connection) => {
    await connection.request();
    connection.send("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(10_000));
  });
  using client = await lane.connect();
  await client.send(lane.head("GET /"));
  let answer = await client.response();
  for (let i = 0; i < 200 && answer.status < 200; i++) answer = await client.response();
  assert.equal(answer.status, 502);
  assert.equal(answer.code, "upstream-invalid");
});

test("a 101 that nobody asked for is 502", async () => {
  await using lane = await lanes.lane(async (connection) => {
    await connection.request();
    connection.send(
      "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: evil\r\n\r\nbytes",
    );
  });
  using client = await lane.connect();
  await client.send(lane.head("GET /"));
  const answer = await client.response();
  assert.equal(answer.status, 502);
  assert.equal(answer.code, "upstream-invalid");
});

test("a 100 that the caller did not ask for stays between weft and the endpoint", async () => {
  await using lane = await lanes.lane(async (connection) => {
    await connection.request();
    connection.send(`HTTP/1.1 100 Continue\r\n\r\n${ok("body")}`);
  });
  using client = await lane.connect();
  await client.send(lane.head("POST /", "Content-Length: 1") + "x");
  const answer = await client.response();
  assert.equal(answer.status, 200);
  assert.equal(answer.body, "body");
});
