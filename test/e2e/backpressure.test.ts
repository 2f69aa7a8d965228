/** A slow reader slows its sender: bytes wait in sockets, not in weft's memory. */

import assert from "node:assert/strict";
import fs from "node:fs";
import { after, before, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { eventually } from "../support/eventually.ts";
import { Lanes } from "../support/lanes.ts";
import { answering, ok } from "../support/origin.ts";
import { RawClient } from "../support/raw-client.ts";

let lanes: Lanes;
before(async () => {
  lanes = await Lanes.start({ kinds: { default: { count: 10 } } });
});
after(() => lanes.stop());

const chunk = Buffer.alloc(64 * 1024, "x");
/** More than all socket buffers on the way can hold. */
const totalBytes = 256 * 1024 * 1024;
/** Far below what would be held without backpressure, and above what a collector of garbage may leave for later. */
const memoryMiB = 128;

function residentMiB(): number {
  const status = fs.readFileSync(`/proc/${lanes.gateway.child.pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+)/.exec(status)![1]) / 1024;
}

test("a caller that does not read stops the endpoint; when it reads again, every byte arrives", async () => {
  let sent = 0;
  await using lane = await lanes.lane(async (connection) => {
    await connection.request();
    connection.send(`HTTP/1.1 200 OK\r\nContent-Length: ${totalBytes}\r\n\r\n`);
    while (sent < totalBytes && !connection.closed) {
      sent += chunk.length;
      if (!connection.socket.write(chunk))
        await new Promise((resolve) => connection.socket.once("drain", resolve));
    }
  });
  const before = residentMiB();
  const client = await RawClient.connect(lanes.gateway.port);
  let read = 0;
  client.socket.removeAllListeners("data");
  await client.send(lane.head("GET /"));
  client.socket.pause();
  await settled(() => sent);
  assert.ok(sent < totalBytes / 2, `the endpoint was let send ${sent} bytes`);
  assert.ok(residentMiB() - before < memoryMiB, `memory grew by ${residentMiB() - before} MiB`);
  client.socket.on("data", (data: Buffer) => (read += data.length));
  client.socket.resume();
  await eventually("every byte to arrive", () => read > totalBytes, 60_000);
  assert.ok(residentMiB() - before < 96, `memory grew by ${residentMiB() - before} MiB`);
  client.destroy();
});

test("an endpoint that does not read stops the caller; when it reads again, every byte arrives", async () => {
  let release = (): void => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  let arrived = 0;
  await using lane = await lanes.lane(async (connection) => {
    await connection.head();
    connection.socket.pause();
    await held;
    connection.socket.removeAllListeners("data");
    connection.socket.on("data", (data: Buffer) => {
      arrived += data.length;
      if (arrived >= totalBytes - 200_000 && arrived + connection.text.length >= totalBytes)
        connection.send(ok("all"));
    });
    connection.socket.resume();
  });
  const before = residentMiB();
  using client = await lane.connect();
  await client.send(lane.head("PUT /", `Content-Length: ${totalBytes}`));
  let sent = 0;
  const sending = (async () => {
    while (sent < totalBytes && !client.closed) {
      sent += chunk.length;
      if (!client.socket.write(chunk))
        await new Promise((resolve) => client.socket.once("drain", resolve));
    }
  })();
  await settled(() => sent);
  assert.ok(sent < totalBytes / 2, `the caller was let send ${sent} bytes`);
  assert.ok(residentMiB() - before < memoryMiB, `memory grew by ${residentMiB() - before} MiB`);
  release();
  await sending;
  assert.equal((await client.response()).body, "all");
});

test("a caller that pipelines for ever and never reads is stopped", async () => {
  await using lane = await lanes.lane(answering(() => ok("y".repeat(2000))));
  const client = await RawClient.connect(lanes.gateway.port);
  client.socket.pause();
  const before = residentMiB();
  const batch = Buffer.from(lane.head("GET /pipelined").repeat(1000));
  let sent = 0;
  let stop = false;
  const sending = (async () => {
    while (!stop && sent < 64 * 1024 * 1024 && !client.closed) {
      sent += batch.length;
      if (!client.socket.write(batch)) {
        await Promise.race([
          new Promise((resolve) => client.socket.once("drain", resolve)),
          new Promise((resolve) => client.socket.once("close", resolve)),
        ]);
      }
    }
  })();
  await settled(() => sent);
  assert.ok(sent < 32 * 1024 * 1024, `the caller was let send ${sent} bytes of requests`);
  assert.ok(residentMiB() - before < memoryMiB, `memory grew by ${residentMiB() - before} MiB`);
  stop = true;
  client.destroy();
  await sending;
});

test("a caller that pipelines, pauses and then reads gets every answer in order", async () => {
  const filler = "z".repeat(100_000);
  await using lane = await lanes.lane(
    answering((request) => ok(`${request.start.split(" ")[1]} ${filler}`)),
  );
  const client = await RawClient.connect(lanes.gateway.port);
  client.socket.pause();
  await client.send(Array.from({ length: 200 }, (_, i) => lane.head(`GET /${i}`)).join(""));
  await settled(() => lane.origin.text.length);
  assert.ok(!lane.origin.text.includes("GET /199 "), "not all are asked for while nobody reads");
  client.socket.resume();
  await client.until(
    "the last answer",
    // the length first: looking into 20 MB after each piece of it takes longer than their transport
    () =>
      client.text.length > 200 * filler.length &&
      client.text.endsWith(filler) &&
      client.text.includes("\r\n\r\n/199 "),
  );
  const order = [...client.text.matchAll(/\r\n\r\n\/(\d+) /g)].map((match) => Number(match[1]));
  assert.deepEqual(
    order,
    Array.from({ length: 200 }, (_, i) => i),
  );
  client.destroy();
});

test("chunks of one byte arrive as they were meant", async () => {
  const body = "0123456789".repeat(5000);
  const chunks = [...body].map((c) => `1\r\n${c}\r\n`).join("");
  await using lane = await lanes.lane(answering((request) => ok(request.body)));
  using client = await lane.connect();
  await client.send(`${lane.head("POST /", "Transfer-Encoding: chunked")}${chunks}0\r\n\r\n`);
  assert.ok((await client.response()).body === body);
});

/** Resolves when `value` has stopped changing for a while of the event loop. */
async function settled(value: () => number): Promise<void> {
  let last = -1;
  let same = 0;
  await eventually("the sender to be stopped", async () => {
    await turn();
    same = value() === last && last > 0 ? same + 1 : 0;
    last = value();
    return same > 30;
  });
}
