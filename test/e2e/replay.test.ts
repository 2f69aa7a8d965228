/** Keep-alive races and retries: what may be sent again is, what may not is not. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Lanes } from "../support/lanes.ts";
import type { Lane } from "../support/lanes.ts";
import { answering, ok } from "../support/origin.ts";

let lanes: Lanes;
before(async () => {
  lanes = await Lanes.start({
    kinds: {
      default: { count: 20 },
      pair: { count: 20, endpoints: 2, policy: "{ balance: round-robin }" },
      none: { count: 4, endpoints: 2, policy: "{ balance: round-robin, retry: { attempts: 0 } }" },
    },
  });
});
after(() => lanes.stop());

/** A lane whose endpoint closes each connection as soon as the second request arrives on it, unanswered. */
function racing(): Promise<Lane> {
  return lanes.lane(async (connection) => {
    await connection.request();
    connection.send(ok(`first on ${connection.index}`));
    await connection.request();
    connection.reset();
  });
}

test("a GET on a reused connection that dies without a byte is sent again, on a fresh one", async () => {
  await using lane = await racing();
  using client = await lane.connect();
  await client.send(lane.head("GET /1"));
  assert.equal((await client.response()).body, "first on 0");
  await client.send(lane.head("GET /2"));
  const answer = await client.response();
  assert.equal(answer.body, "first on 1");
  assert.equal(lane.origin.connections.length, 2);
});

for (const [name, lines, body] of [
  ["a POST", ["Content-Length: 5"], "hello"],
  ["a PATCH", ["Content-Length: 5"], "hello"],
] as const) {
  test(`${name} on a reused connection that dies is not sent again: it may have been processed`, async () => {
    await using lane = await racing();
    using client = await lane.connect();
    await client.send(lane.head("GET /1"));
    await client.response();
    await client.send(lane.head(`${name.slice(2)} /2`, ...lines) + body);
    const answer = await client.response();
    assert.equal(answer.status, 502);
    assert.equal(answer.code, "upstream-reset");
    assert.equal(lane.origin.connections.length, 1);
  });
}

test("a POST with an idempotency-key is sent again", async () => {
  await using lane = await racing();
  using client = await lane.connect();
  await client.send(lane.head("GET /1"));
  await client.response();
  await client.send(lane.head("POST /2", "Content-Length: 5", "Idempotency-Key: k1") + "hello");
  assert.equal((await client.response()).body, "first on 1");
  assert.match(lane.origin.connections[1]!.text, /hello$/);
});

test("a PUT with its body is sent again, body and all", async () => {
  await using lane = await racing();
  using client = await lane.connect();
  await client.send(lane.head("GET /1"));
  await client.response();
  await client.send(lane.head("PUT /2", "Content-Length: 5") + "hello");
  assert.equal((await client.response()).body, "first on 1");
  assert.match(lane.origin.connections[1]!.text, /\r\n\r\nhello$/);
});

test("an endpoint that closed its idle connection: the next request, a POST too, goes on a fresh one", async () => {
  await using lane = await lanes.lane(async (connection) => {
    const request = await connection.request();
    connection.send(ok(request!.start));
    connection.end();
  });
  using client = await lane.connect();
  await client.send(lane.head("GET /1"));
  await client.response();
  await lane.origin.connections[0]!.untilClosed();
  await client.send(lane.head("POST /2", "Content-Length: 5") + "hello");
  assert.equal((await client.response()).body, "POST /2 HTTP/1.1");
});

test("503 is tried on the other endpoint, and the answer says how many attempts it took", async () => {
  await using lane = await lanes.lane(undefined, "pair");
  const [bad, good] = lane.origins;
  bad!.script = answering(() => "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 3\r\n\r\nbad");
  good!.script = answering(() => ok("good"));
  using client = await lane.connect();
  let retried = 0;
  for (let i = 0; i < 2; i++) {
    await client.send(lane.head("GET /"));
    const answer = await client.response();
    assert.equal(answer.status, 200);
    assert.equal(answer.body, "good");
    if (answer.header("x-weft-attempts") === "2") retried++;
  }
  assert.equal(retried, 1);
});

test("a refused connection is tried elsewhere, also for a POST: nothing was sent", async () => {
  await using lane = await lanes.lane(
    answering((request) => ok(request.body)),
    "pair",
  );
  await lane.origins[0]!.close();
  using client = await lane.connect();
  for (let i = 0; i < 3; i++) {
    await client.send(lane.head("POST /", "Content-Length: 5") + "hello");
    const answer = await client.response();
    assert.equal(answer.status, 200);
    assert.equal(answer.body, "hello");
  }
});

test("500 is not retried", async () => {
  await using lane = await lanes.lane(
    answering(() => "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"),
    "pair",
  );
  using client = await lane.connect();
  await client.send(lane.head("GET /"));
  assert.equal((await client.response()).status, 500);
  assert.equal(lane.origins[0]!.connections.length + lane.origins[1]!.connections.length, 1);
});

test("503 to a POST is passed on: it may have been processed", async () => {
  await using lane = await lanes.lane(
    answering(() => "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"),
    "pair",
  );
  using client = await lane.connect();
  await client.send(lane.head("POST /", "Content-Length: 5") + "hello");
  assert.equal((await client.response()).status, 503);
  assert.equal(lane.origins[0]!.connections.length + lane.origins[1]!.connections.length, 1);
});

test("attempts: 0 retries nothing but a lost reused connection", async () => {
  await using lane = await lanes.lane(
    answering(() => "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"),
    "none",
  );
  using client = await lane.connect();
  await client.send(lane.head("GET /"));
  const answer = await client.response();
  assert.equal(answer.status, 503);
  assert.equal(answer.header("x-weft-attempts"), undefined);
});

test("an answer that has begun is never retried", async () => {
  await using lane = await lanes.lane(async (connection) => {
    await connection.request();
    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nstart");
    connection.end();
  }, "pair");
  using client = await lane.connect();
  await client.send(lane.head("GET /"));
  await client.untilEnded();
  assert.equal(lane.origins[0]!.connections.length + lane.origins[1]!.connections.length, 1);
});

test("a body still being sent when the endpoint resets is not half repeated", async () => {
  await using lane = await lanes.lane(async (connection) => {
    await connection.has("start");
    connection.reset();
  }, "pair");
  using client = await lane.connect();
  await client.send(lane.head("POST /", "Transfer-Encoding: chunked") + "5\r\nstart\r\n");
  const answer = await client.response();
  assert.equal(answer.status, 502);
  assert.equal(answer.code, "upstream-reset");
  assert.equal(lane.origins[0]!.connections.length + lane.origins[1]!.connections.length, 1);
});

test("the retry budget bounds what a dead service costs", async () => {
  await using lane = await lanes.lane(
    answering(() => "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"),
    "pair",
  );
  using client = await lane.connect();
  const sent = 200;
  for (let i = 0; i < sent; i++) {
    await client.send(lane.head("GET /"));
    await client.response();
  }
  const arrived = lane.origins.reduce(
    (sum, origin) => sum + (origin.text.match(/^GET /gm) ?? []).length,
    0,
  );
  // 20 %, and 10 a second, both over a window of ten seconds
  assert.ok(arrived <= sent * 1.2 + 100, `${arrived} requests arrived for ${sent}`);
});
