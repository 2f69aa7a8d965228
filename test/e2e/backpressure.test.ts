/** A slow reader slows its sender: bytes wait in sockets, not in weft's memory. */

import assert from "node:assert/strict";
import fs from "node:fs";
import { after, before, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { eventually } from "../support/eventually.ts";
import { Lanes } from "../support/lanes.ts";
import { ok } from "../support/origin.ts";
import { RawClient } from "../support/raw-client.ts";

let lanes: Lanes;
before(async () => {
  lanes = await Lanes.start({ kinds: { default: { count: 10 } } });
});
after(() => lanes.stop());

const chunk = Buffer.alloc(64 * 1024, "x");
/** More than all socket buffers on the way can hold. */
const totalBytes = 256 * 1024 * 1024;

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
  assert.ok(residentMiB() - before < 64, `memory grew by ${residentMiB() - before} MiB`);
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
  assert.ok(residentMiB() - before < 64, `memory grew by ${residentMiB() - before} MiB`);
  release();
  await sending;
  assert.equal((await client.response()).body, "all");
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
