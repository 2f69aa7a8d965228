/** Everything that a stranger controls has a limit, with an answer that says which. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Lanes } from "../support/lanes.ts";
import { answering, ok } from "../support/origin.ts";
import { RawClient } from "../support/raw-client.ts";

let lanes: Lanes;
before(async () => {
  lanes = await Lanes.start({
    kinds: {
      default: { count: 12 },
      small: { count: 4, plugins: "[{ body-limit: { bytes: 10 } }]" },
    },
    limits:
      "{ headerBytes: 4KiB, headerCount: 20, headerTimeout: 400ms, idleTimeout: 600ms, connections: 40 }",
  });
});
after(() => lanes.stop());

test("a head above headerBytes is 431, and the connection is closed", async () => {
  await using lane = await lanes.lane();
  for (const line of [`X: ${"a".repeat(5000)}`, `${"X".repeat(5000)}: a`]) {
    using client = await lane.connect();
    await client.send(lane.head("GET /", line));
    const answer = await client.response();
    assert.equal(answer.status, 431);
    assert.equal(answer.code, "header-too-large");
    await client.untilEnded();
  }
  assert.equal(lane.origin.text, "");
});

test("a head without end is 431 as soon as it is over the limit", async () => {
  await using lane = await lanes.lane();
  using client = await lane.connect();
  await client.send(`GET / HTTP/1.1\r\nHost: ${lane.host}\r\nX: `);
  await client.send("a".repeat(6000));
  assert.equal((await client.response()).status, 431);
});

test("a target without end is 431 or 414", async () => {
  await using lane = await lanes.lane();
  using client = await lane.connect();
  await client.send(`GET /${"a".repeat(70_000)}`);
  assert.ok([414, 431].includes((await client.response()).status));
});

test("more fields than headerCount is 431", async () => {
  await using lane = await lanes.lane();
  using client = await lane.connect();
  await client.send(lane.head("GET /", ...Array.from({ length: 20 }, (_, i) => `X-${i}: 1`)));
  const answer = await client.response();
  assert.equal(answer.status, 431);
  assert.equal(answer.code, "header-too-large");
});

test("a head that does not get complete in time is 408, however often a byte comes", async () => {
  await using lane = await lanes.lane();
  using client = await lane.connect();
  await client.send(`GET / HTTP/1.1\r\nHost: ${lane.host}\r\nX: `);
  const dripping = setInterval(() => client.socket.write("a"), 50);
  try {
    const answer = await client.response();
    assert.equal(answer.status, 408);
    assert.equal(answer.code, "request-timeout");
    await client.untilEnded();
  } finally {
    clearInterval(dripping);
  }
});

test("a connection that says nothing is closed without a word", async () => {
  await using lane = await lanes.lane();
  using client = await lane.connect();
  assert.equal(await client.untilEnded(), "");
});

test("a connection that is idle between requests is closed after idleTimeout", async () => {
  await using lane = await lanes.lane();
  using client = await lane.connect();
  await client.send(lane.head("GET /"));
  assert.equal((await client.response()).status, 200);
  await client.untilEnded();
  assert.equal(client.rest, "");
});

test("body-limit: a declared length above it is 413 at once, the service sees nothing", async () => {
  await using lane = await lanes.lane(
    answering((request) => ok(request.body)),
    "small",
  );
  using client = await lane.connect();
  await client.send(lane.head("POST /", "Content-Length: 11"));
  const answer = await client.response();
  assert.equal(answer.status, 413);
  assert.equal(answer.code, "body-too-large");
  assert.equal(lane.origin.text, "");
});

test("body-limit: a body at the limit passes, chunked bytes above it do not", async () => {
  await using lane = await lanes.lane(
    answering((request) => ok(request.body)),
    "small",
  );
  using client = await lane.connect();
  await client.send(
    lane.head("POST /", "Transfer-Encoding: chunked") + "a\r\n0123456789\r\n0\r\n\r\n",
  );
  assert.equal((await client.response()).body, "0123456789");
  await client.send(
    lane.head("POST /", "Transfer-Encoding: chunked") + "6\r\n012345\r\n6\r\n012345\r\n0\r\n\r\n",
  );
  const answer = await client.response();
  assert.equal(answer.status, 413);
  assert.equal(answer.code, "body-too-large");
});

test("connections above the limit are turned away, and welcome again when others have gone", async () => {
  await using lane = await lanes.lane();
  const clients: RawClient[] = [];
  let refused = 0;
  for (let i = 0; i < 60; i++) {
    try {
      const client = await lane.connect();
      clients.push(client);
    } catch {
      refused++;
    }
  }
  for (const client of clients) await client.send(lane.head("GET /")).catch(() => {});
  await Promise.all(
    clients.map((client) =>
      client.until("an answer or the end", () => client.text !== "" || client.closed),
    ),
  );
  const served = clients.filter((client) => client.text.startsWith("HTTP/1.1 200")).length;
  assert.ok(served <= 40, `${served} of ${clients.length} served, ${refused} refused`);
  assert.ok(served >= 30, `${served} served`);
  for (const client of clients) client.destroy();
  await Promise.all(clients.map((client) => client.untilClosed()));
  for (let tries = 0; ; tries++) {
    using client = await lane.connect();
    await client.send(lane.head("GET /"));
    await client.until("an answer or the end", () => client.text !== "" || client.closed);
    if (client.text.startsWith("HTTP/1.1 200")) break;
    assert.ok(tries < 100, "no connection is let in any more");
  }
});
