/** Connections of callers: pipelining, half-closing, keep-alive and close per hop, early answers, aborts. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { eventually } from "../support/eventually.ts";
import { Lanes } from "../support/lanes.ts";
import { answering, ok } from "../support/origin.ts";
import { RawClient } from "../support/raw-client.ts";

let lanes: Lanes;
before(async () => {
  lanes = await Lanes.start({ kinds: { default: { count: 60 } } });
});
after(() => lanes.stop());

for (const pieces of ["whole", "bytes"] as const) {
  test(`pipelined requests are answered in order, sent ${pieces}`, async () => {
    await using lane = await lanes.lane(
      answering((request) => ok(`${request.start.split(" ")[1]} ${request.body}`)),
    );
    using client = await lane.connect();
    const text =
      lane.head("GET /1") +
      lane.head("POST /2", "Content-Length: 3") +
      "abc" +
      lane.head("POST /3", "Transfer-Encoding: chunked") +
      "2\r\nde\r\n0\r\n\r\n" +
      lane.head("GET /4");
    await client.send(text, pieces);
    const bodies = [];
    for (let i = 0; i < 4; i++) bodies.push((await client.response()).body);
    assert.deepEqual(bodies, ["/1 ", "/2 abc", "/3 de", "/4 "]);
  });
}

test("a slow first answer holds back the second, which is not lost", async () => {
  let release = (): void => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  await using lane = await lanes.lane(async (connection) => {
    for (;;) {
      const request = await connection.request();
      if (request === null) return connection.end();
      if (request.start.includes("/slow")) await held;
      connection.send(ok(request.start.split(" ")[1]!));
    }
  });
  using client = await lane.connect();
  await client.send(lane.head("GET /slow") + lane.head("GET /fast"));
  await lane.origin.until("the first request", () => lane.origin.text.includes("/slow"));
  assert.equal(client.text, "");
  release();
  assert.equal((await client.response()).body, "/slow");
  assert.equal((await client.response()).body, "/fast");
});

test("a hundred pipelined requests in one write", async () => {
  await using lane = await lanes.lane(answering((request) => ok(request.start.split(" ")[1]!)));
  using client = await lane.connect();
  await client.send(Array.from({ length: 100 }, (_, i) => lane.head(`GET /${i}`)).join(""));
  for (let i = 0; i < 100; i++) assert.equal((await client.response()).body, `/${i}`);
});

test("a bad request behind a good one: the good one is answered, the bad one refused", async () => {
  await using lane = await lanes.lane();
  using client = await lane.connect();
  await client.send(lane.head("GET /good") + "BAD\r\n\r\n");
  assert.equal((await client.response()).status, 200);
  assert.equal((await client.response()).status, 400);
  await client.untilEnded();
  assert.equal(client.rest, "");
});

test("a caller that half-closes after its request is answered", async () => {
  let release = (): void => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  await using lane = await lanes.lane(async (connection) => {
    await connection.request();
    await held;
    connection.send(ok("late"));
  });
  using client = await lane.connect();
  await client.send(lane.head("GET /"));
  client.end();
  await lane.origin.until("the request", () => lane.origin.text.includes("\r\n\r\n"));
  release();
  assert.equal((await client.response()).body, "late");
  await client.untilEnded();
  assert.equal(client.error, null);
});

test("a caller that half-closes after several pipelined requests gets all answers", async () => {
  await using lane = await lanes.lane(answering((request) => ok(request.start.split(" ")[1]!)));
  using client = await lane.connect();
  await client.send(lane.head("GET /1") + lane.head("GET /2") + lane.head("GET /3"));
  client.end();
  for (const path of ["/1", "/2", "/3"]) assert.equal((await client.response()).body, path);
  await client.untilEnded();
});

test("an end inside the head closes the connection without an answer", async () => {
  await using lane = await lanes.lane();
  using client = await lane.connect();
  await client.send("GET / HTTP/1.1\r\nHost: x");
  client.end();
  assert.equal(await client.untilEnded(), "");
  assert.equal(lane.origin.connections.length, 0);
});

test("an end inside the body is an abort: the endpoint's connection is cut, the request never looks whole", async () => {
  await using lane = await lanes.lane(async (connection) => {
    await connection.head();
  });
  using client = await lane.connect();
  await client.send(lane.head("POST /", "Transfer-Encoding: chunked") + "5\r\nhello\r\n");
  const upstream = await lane.origin.connection();
  await upstream.has("hello");
  client.end();
  await upstream.untilEnded();
  assert.doesNotMatch(upstream.text, /\r\n0\r\n/);
});

test("Connection: close of the caller closes the caller's connection, not the endpoint's", async () => {
  await using lane = await lanes.lane(answering(() => ok("x")));
  for (let i = 0; i < 2; i++) {
    using client = await lane.connect();
    await client.send(lane.head("GET /", "Connection: close"));
    const answer = await client.response();
    assert.equal(answer.header("connection"), "close");
    await client.untilEnded();
  }
  assert.equal(lane.origin.connections.length, 1);
  assert.doesNotMatch(lane.origin.text, /connection: close/i);
});

test("Connection: close of the endpoint closes the endpoint's connection, not the caller's", async () => {
  await using lane = await lanes.lane(async (connection) => {
    await connection.request();
    connection.send(ok("x", "Connection: close\r\n"));
    connection.end();
  });
  using client = await lane.connect();
  for (let i = 0; i < 3; i++) {
    await client.send(lane.head("GET /"));
    const answer = await client.response();
    assert.equal(answer.body, "x");
    assert.equal(answer.header("connection"), undefined);
  }
  assert.equal(lane.origin.connections.length, 3);
});

test("HTTP/1.0 is closed after its answer, unless it asks to be kept", async () => {
  await using lane = await lanes.lane(answering(() => ok("x")));
  using once = await lane.connect();
  await once.send(`GET / HTTP/1.0\r\nHost: ${lane.host}\r\n\r\n`);
  assert.ok((await once.untilEnded()).endsWith("x"));
  using kept = await lane.connect();
  for (let i = 0; i < 2; i++) {
    await kept.send(`GET / HTTP/1.0\r\nHost: ${lane.host}\r\nConnection: keep-alive\r\n\r\n`);
    const answer = await kept.response();
    assert.equal(answer.body, "x");
    assert.equal(answer.header("connection"), "keep-alive");
  }
});

test("connections to an endpoint are used again, by other callers too", async () => {
  await using lane = await lanes.lane(answering(() => ok("x")));
  for (let i = 0; i < 5; i++) {
    using client = await lane.connect();
    await client.send(lane.head("GET /"));
    assert.equal((await client.response()).body, "x");
  }
  assert.equal(lane.origin.connections.length, 1);
});

test("an early answer reaches a caller that is still sending, and the connection ends in order", async () => {
  await using lane = await lanes.lane(async (connection) => {
    await connection.head();
    connection.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig");
  });
  using client = await lane.connect();
  await client.send(lane.head("POST /", "Content-Length: 100000") + "x".repeat(1000));
  const answer = await client.response();
  assert.equal(answer.status, 413);
  assert.equal(answer.body, "big");
  // still sending while weft lingers: the answer must not be lost to a reset
  await client.send("x".repeat(50_000));
  await client.untilEnded();
  assert.equal(client.error, null);
});

test("an early answer to a chunked upload: the endpoint's connection is not used again", async () => {
  await using lane = await lanes.lane(async (connection) => {
    await connection.head();
    if (connection.index === 0)
      connection.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
    else connection.send(ok("fresh"));
  });
  using client = await lane.connect();
  await client.send(lane.head("POST /", "Transfer-Encoding: chunked") + "5\r\nhello\r\n");
  assert.equal((await client.response()).status, 401);
  using next = await lane.connect();
  await next.send(lane.head("GET /next"));
  assert.equal((await next.response()).body, "fresh");
  assert.equal(lane.origin.connections.length, 2);
});

for (const how of ["FIN", "RST"] as const) {
  test(`a caller that goes away (${how}) while the endpoint is silent: the endpoint's connection is cut`, async () => {
    await using lane = await lanes.lane(async (connection) => {
      await connection.request();
    });
    const client = await lane.connect();
    await client.send(lane.head("POST /", "Content-Length: 5") + (how === "FIN" ? "hel" : "hello"));
    const upstream = await lane.origin.connection();
    await upstream.has("hel");
    if (how === "FIN") client.destroy();
    else client.reset();
    await upstream.untilEnded();
  });
}

test("a caller that resets in the middle of the answer: the endpoint's connection is cut", async () => {
  await using lane = await lanes.lane(async (connection) => {
    await connection.request();
    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nstart");
  });
  const client = await lane.connect();
  await client.send(lane.head("GET /"));
  await client.has("start");
  client.reset();
  await (await lane.origin.connection()).untilEnded();
});

for (const [name, head, cut] of [
  ["by length", "Content-Length: 100", "start"],
  ["in chunks", "Transfer-Encoding: chunked", "5\r\nstart\r\n"],
] as const) {
  for (const how of ["FIN", "RST"] as const) {
    test(`an endpoint that dies (${how}) in the middle of an answer ${name}: the caller sees the cut`, async () => {
      await using lane = await lanes.lane(async (connection) => {
        await connection.request();
        connection.send(`HTTP/1.1 200 OK\r\n${head}\r\n\r\n${cut}`);
        await connection.until("the caller to have the start", () => started);
        if (how === "FIN") connection.end();
        else connection.reset();
      });
      let started = false;
      using client = await lane.connect();
      await client.send(lane.head("GET /"));
      await client.has("start");
      started = true;
      lane.origin.connections[0]!.wake();
      const text = await client.untilEnded();
      assert.match(text, /^HTTP\/1\.1 200 /);
      assert.ok(!text.endsWith("0\r\n\r\n"), "no last chunk is made up");
      assert.equal(text.match(/HTTP\/1\.1/g)!.length, 1, "no second answer is put into the first");
    });
  }
}

test("an endpoint whose body has no framing and that resets: the caller sees the cut", async () => {
  await using lane = await lanes.lane(async (connection) => {
    await connection.request();
    connection.send("HTTP/1.1 200 OK\r\n\r\nstart");
    await connection.until("the caller to have the start", () => started);
    connection.reset();
  });
  let started = false;
  using client = await lane.connect();
  await client.send(lane.head("GET /"));
  await client.has("start");
  started = true;
  lane.origin.connections[0]!.wake();
  const text = await client.untilEnded();
  assert.ok(!text.endsWith("0\r\n\r\n"), "a cut answer must not end like a whole one");
});

test("nothing is left open or counted after many aborts", async () => {
  await using lane = await lanes.lane(async (connection) => {
    await connection.request();
  });
  const clients: RawClient[] = [];
  for (let i = 0; i < 50; i++) {
    const client = await lane.connect();
    await client.send(lane.head("GET /hang"));
    clients.push(client);
  }
  await lane.origin.until(
    "50 requests at the origin",
    () => (lane.origin.text.match(/\/hang/g) ?? []).length === 50,
  );
  for (const client of clients) client.reset();
  await lane.origin.until("no connection at the origin", () => lane.origin.open === 0);
  await eventually(
    "the gauges to return",
    async () => (await lanes.gateway.metric("weft_active_requests")) === 0,
  );
});

test("what weft adds is not taken away by the caller's Connection field", async () => {
  await using lane = await lanes.lane();
  using client = await lane.connect();
  await client.send(
    lane.head("GET /", "Connection: via, x-request-id, traceparent", "Via: 1.0 evil"),
  );
  assert.equal((await client.response()).status, 200);
  assert.match(lane.origin.text, /\r\nvia: 1\.1 weft\r\n/i);
  assert.doesNotMatch(lane.origin.text, /evil/);
});

test("an empty line between pipelined requests is forgiven once", async () => {
  await using lane = await lanes.lane(answering((request) => ok(request.body)));
  using client = await lane.connect();
  await client.send(`${lane.head("POST /", "Content-Length: 2")}ab\r\n${lane.head("GET /")}`);
  assert.equal((await client.response()).body, "ab");
  assert.equal((await client.response()).status, 200);
});

test("a partial head behind a half-close does not keep the connection", async () => {
  await using lane = await lanes.lane(answering(() => ok("x")));
  using client = await lane.connect();
  await client.send(`${lane.head("GET /")}GET /part`);
  client.end();
  assert.equal((await client.response()).body, "x");
  await client.untilEnded();
  assert.equal(client.rest, "");
});

test("a 200 before the end of the request's body: the rest is read, and the connection goes on", async () => {
  await using lane = await lanes.lane(async (connection) => {
    const head = await connection.head();
    connection.send(ok(head!.split(" ")[1]!, "Connection: close\r\n"));
    await connection.untilEnded();
  });
  using client = await lane.connect();
  for (const [body, lines] of [
    ["0123456789", ["Content-Length: 10"]],
    ["a\r\n0123456789\r\n0\r\n\r\n", ["Transfer-Encoding: chunked"]],
  ] as const) {
    await client.send(lane.head("POST /early", ...lines) + body.slice(0, 6));
    const answer = await client.response();
    assert.equal(answer.body, "/early");
    assert.equal(answer.header("connection"), undefined);
    await client.send(body.slice(6) + lane.head("GET /next"));
    assert.equal((await client.response()).body, "/next");
  }
});

test("an early 200 to a body without end: the connection is closed before it costs much", async () => {
  await using lane = await lanes.lane(async (connection) => {
    await connection.head();
    connection.send(ok("early"));
    await connection.untilEnded();
  });
  using client = await lane.connect();
  await client.send(lane.head("POST /", "Content-Length: 100000000") + "x".repeat(1000));
  assert.equal((await client.response()).body, "early");
  let sent = 0;
  while (!client.closed && !client.ended && sent < 50_000_000) {
    sent += 65_536;
    if (!client.socket.write("x".repeat(65_536))) {
      await Promise.race([
        new Promise((resolve) => client.socket.once("drain", resolve)),
        new Promise((resolve) => client.socket.once("close", resolve)),
      ]);
    }
  }
  assert.ok(sent < 50_000_000, `${sent} bytes were taken`);
});

test("an early 200 to a caller that waits for 100: the connection is closed, the body never expected", async () => {
  await using lane = await lanes.lane(async (connection) => {
    await connection.head();
    connection.send(ok("early"));
    await connection.untilEnded();
  });
  using client = await lane.connect();
  await client.send(lane.head("POST /", "Content-Length: 5", "Expect: 100-continue"));
  const answer = await client.response();
  assert.equal(answer.body, "early");
  assert.equal(answer.header("connection"), "close");
  await client.untilEnded();
});
