/** Endpoints that lie, stall or break: a 502 or 504 that says what was wrong, and nothing leaks into another exchange. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { Lanes } from "../support/lanes.ts";
import { answering, ok } from "../support/origin.ts";

let lanes: Lanes;
before(async () => {
  lanes = await Lanes.start({
    kinds: {
      default: { count: 60, policy: "{ retry: { attempts: 0 } }" },
      quick: { count: 4, policy: "{ timeout: 300ms, retry: { attempts: 0 } }" },
      attempt: { count: 2, policy: "{ attemptTimeout: 200ms, retry: { attempts: 0 } }" },
      late: { count: 1, policy: "{ timeout: 10m, idleTimeout: 300ms, retry: { attempts: 0 } }" },
      idle: { count: 2, policy: "{ idleTimeout: 300ms, retry: { attempts: 0 } }" },
      total: { count: 2, policy: "{ totalTimeout: 400ms, retry: { attempts: 0 } }" },
    },
  });
});
after(() => lanes.stop());

const invalid: Record<string, string> = {
  "another protocol": "SSH-2.0-OpenSSH_9.2p1 Debian\r\n",
  "a TLS alert": "\x15\x03\x01\x00\x02\x02\x46 and then some more",
  "HTTP/0.9": "<html><body>hello</body></html>",
  "HTTP/2 in text": "HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
  "a bare LF": "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
  "a bare CR in a value": "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: evil\r\nContent-Length: 0\r\n\r\n",
  "NUL in a value": "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
  "a folded line": "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
  "white space before a colon": "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
  "two lengths": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
  "a length and chunks":
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
  "a negative length": "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
  "an unknown coding": "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
  "a status in words": "HTTP/1.1 OK\r\nContent-Length: 0\r\n\r\n",
  "a head without end": `HTTP/1.1 200 OK\r\nX: ${"a".repeat(200_000)}`,
  "fields without end": `HTTP/1.1 200 OK\r\n${"X: a\r\n".repeat(20_000)}`,
};

describe("an answer that is no HTTP/1.1 is 502 upstream-invalid:", () => {
  for (const [name, text] of Object.entries(invalid)) {
    for (const pieces of text.length < 1000
      ? (["whole", "bytes"] as const)
      : (["whole"] as const)) {
      test(`${name}, ${pieces}`, async () => {
        await using lane = await lanes.lane(async (connection) => {
          await connection.request();
          if (pieces === "whole") connection.send(text);
          else await connection.sendBytes(text);
        });
        using client = await lane.connect();
        await client.send(lane.head("GET /"));
        const answer = await client.response();
        assert.equal(answer.status, 502);
        assert.equal(answer.code, "upstream-invalid");
        assert.match(answer.header("proxy-status")!, /^weft; error=http_protocol_error/);
        assert.match(
          answer.body,
          new RegExp(`127\\.0\\.0\\.1:${lane.origin.port}`),
          "the detail names the endpoint",
        );
        assert.doesNotMatch(client.text, /evil/);
        await lane.origin.until("the connection to be cut", () => lane.origin.open === 0);
        // the caller's connection lives on
        lane.origin.script = answering(() => ok("better"));
        await client.send(lane.head("GET /again"));
        assert.equal((await client.response()).body, "better");
      });
    }
  }
});

test("a malformed chunk after the head: the caller sees the cut", async () => {
  await using lane = await lanes.lane(async (connection) => {
    await connection.request();
    connection.send(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nstart\r\nzz\r\nmore\r\n0\r\n\r\n",
    );
  });
  using client = await lane.connect();
  await client.send(lane.head("GET /"));
  const text = await client.untilEnded();
  assert.ok(!text.endsWith("0\r\n\r\n"), text);
});

test("an endpoint that closes without a byte: 502 upstream-reset", async () => {
  await using lane = await lanes.lane(async (connection) => {
    await connection.request();
    connection.end();
  });
  using client = await lane.connect();
  await client.send(lane.head("POST /", "Content-Length: 0"));
  const answer = await client.response();
  assert.equal(answer.status, 502);
  assert.equal(answer.code, "upstream-reset");
});

test("an endpoint that resets in the middle of its head: 502 upstream-reset", async () => {
  await using lane = await lanes.lane(async (connection) => {
    await connection.request();
    connection.send("HTTP/1.1 200 OK\r\nConten");
    setImmediate(() => connection.reset());
  });
  using client = await lane.connect();
  await client.send(lane.head("GET /"));
  const answer = await client.response();
  assert.equal(answer.status, 502);
  assert.equal(answer.code, "upstream-reset");
});

test("an endpoint that refuses connections: 502 connect-refused, naming it", async () => {
  const lane = lanes.closedLane();
  using client = await lanes.gateway.connect();
  await client.send(`GET / HTTP/1.1\r\nHost: ${lane.host}\r\n\r\n`);
  const answer = await client.response();
  assert.equal(answer.status, 502);
  assert.equal(answer.code, "connect-refused");
  assert.ok(answer.body.includes(`127.0.0.1:${lane.ports[0]}`), answer.body);
});

test("a second answer that nobody asked for is not the next caller's", async () => {
  await using lane = await lanes.lane(async (connection) => {
    await connection.request();
    if (connection.index === 0) connection.send(ok("mine") + ok("POISON"));
    else connection.send(ok("clean"));
  });
  using client = await lane.connect();
  await client.send(lane.head("GET /1"));
  assert.equal((await client.response()).body, "mine");
  using other = await lane.connect();
  await other.send(lane.head("GET /2"));
  assert.equal((await other.response()).body, "clean");
  assert.equal(client.rest, "");
});

test("bytes on an idle connection close it (CVE-2026-48931)", async () => {
  await using lane = await lanes.lane(async (connection) => {
    await connection.request();
    connection.send(ok(connection.index === 0 ? "first" : "second"));
  });
  using client = await lane.connect();
  await client.send(lane.head("GET /1"));
  assert.equal((await client.response()).body, "first");
  const idle = lane.origin.connections[0]!;
  idle.send(ok("POISON"));
  await idle.untilEnded();
  await client.send(lane.head("GET /2"));
  assert.equal((await client.response()).body, "second");
});

test("an endpoint that answers HEAD with a body: the body is not taken for the next answer", async () => {
  await using lane = await lanes.lane(async (connection) => {
    for (;;) {
      const request = await connection.request();
      if (request === null) return;
      connection.send(request.start.startsWith("HEAD") ? ok("POISONED BODY") : ok("clean"));
    }
  });
  using client = await lane.connect();
  await client.send(lane.head("HEAD /"));
  await client.response({ noBody: true });
  await client.send(lane.head("GET /"));
  assert.equal((await client.response()).body, "clean");
});

test("a silent endpoint: 504 deadline-exceeded, naming the limit, and its connection is cut", async () => {
  await using lane = await lanes.lane(async (connection) => {
    await connection.request();
  }, "quick");
  using client = await lane.connect();
  await client.send(lane.head("GET /"));
  const answer = await client.response();
  assert.equal(answer.status, 504);
  assert.equal(answer.code, "deadline-exceeded");
  assert.match(answer.body, /300 ms/);
  await (await lane.origin.connection()).untilEnded();
});

test("a download longer than the timeout is not cut: the timeout ends with the head", async () => {
  let finish = (): void => {};
  const finished = new Promise<void>((resolve) => (finish = resolve));
  await using lane = await lanes.lane(async (connection) => {
    await connection.request();
    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nstart");
    await finished;
    connection.send("-done");
  }, "quick");
  using client = await lane.connect();
  await client.send(lane.head("GET /"));
  await client.has("start");
  // the other lane's deadline of the same length runs out in the meantime: that is how long this waits
  await using silent = await lanes.lane(async (connection) => {
    await connection.request();
  }, "quick");
  using clock = await silent.connect();
  await clock.send(silent.head("GET /"));
  assert.equal((await clock.response()).status, 504);
  finish();
  assert.equal((await client.response()).body, "start-done");
});

test("an attempt that takes too long: 504 attempt-timeout", async () => {
  await using lane = await lanes.lane(async (connection) => {
    await connection.request();
  }, "attempt");
  using client = await lane.connect();
  await client.send(lane.head("GET /"));
  const answer = await client.response();
  assert.equal(answer.status, 504);
  assert.equal(answer.code, "attempt-timeout");
  assert.match(answer.body, /within 200 ms \(attemptTimeout\)/);
});

test("an answer that stops moving is cut by idleTimeout", async () => {
  await using lane = await lanes.lane(async (connection) => {
    await connection.request();
    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nstart");
  }, "idle");
  using client = await lane.connect();
  await client.send(lane.head("GET /"));
  const text = await client.untilEnded();
  assert.ok(text.endsWith("start"));
  await (await lane.origin.connection()).untilEnded();
});

test("an answer that begins after idleTimeout and then stops moving is cut, however late the deadline", async () => {
  await using lane = await lanes.lane(async (connection) => {
    await connection.request();
    // the silence before an answer is not idle: the route's timeout is for that
    await delay(700);
    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nstart");
  }, "late");
  using client = await lane.connect();
  await client.send(lane.head("GET /"));
  assert.ok((await client.untilEnded()).endsWith("start"));
});

test("totalTimeout cuts the whole exchange, body included", async () => {
  await using lane = await lanes.lane(async (connection) => {
    await connection.request();
    connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    while (!connection.closed) {
      connection.send("1\r\nx\r\n");
      await new Promise((resolve) => setImmediate(resolve));
    }
  }, "total");
  using client = await lane.connect();
  await client.send(lane.head("GET /"));
  const text = await client.untilEnded();
  assert.ok(!text.endsWith("0\r\n\r\n"));
  await (await lane.origin.connection()).untilEnded();
});
