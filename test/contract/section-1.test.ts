/** CONTRACT section 1, on a real process: what ends, and how, beyond the tests of the command line. */

import assert from "node:assert/strict";
import { once } from "node:events";
import http2 from "node:http2";
import { describe, test } from "node:test";
import { exitCode, startSimple, Upstream } from "../cmd/serving.ts";
import { weft } from "../cmd/cli.ts";
import { within } from "../support/eventually.ts";
import { Origin } from "../support/origin.ts";

describe("SIGTERM", () => {
  test("says GOAWAY to callers of HTTP/2, finishes their streams, and ends with 0", async () => {
    await using upstream = await Upstream.start();
    await using gateway = await startSimple({ upstream: upstream.port, workers: 1 });
    const session = http2.connect(`http://127.0.0.1:${gateway.port}`);
    const goaway = once(session, "goaway");
    const closed = once(session, "close");
    const request = session.request({ ":path": "/hold" });
    const answered = once(request, "response") as Promise<[http2.IncomingHttpHeaders]>;
    await upstream.heldOne();
    gateway.child.kill("SIGTERM");
    const [code] = (await within("a GOAWAY", goaway)) as [number];
    assert.equal(code, http2.constants.NGHTTP2_NO_ERROR);
    upstream.letGo();
    const [headers] = await answered;
    assert.equal(headers[":status"], 200);
    let body = "";
    for await (const chunk of request.setEncoding("utf8")) body += chunk;
    assert.equal(body, "held and answered");
    await within("the connection to be closed", closed);
    assert.equal(await exitCode(gateway), 0);
  });

  test("leaves tunnels open while it drains, and closes them at the latest after drainTimeout", async () => {
    await using origin = await Origin.start(async (connection) => {
      await connection.head();
      connection.send(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
      );
      connection.socket.on("data", (chunk: Buffer) => connection.send(chunk));
    });
    await using gateway = await startSimple({
      upstream: origin.port,
      workers: 1,
      extra: "drainTimeout: 2s",
    });
    const caller = await gateway.connect();
    await caller.send(
      "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    await caller.until("the 101", () => caller.text.includes("101 Switching"));
    const began = performance.now();
    gateway.child.kill("SIGTERM");
    await caller.send("still here");
    await caller.until("the echo", () => caller.text.endsWith("still here"));
    assert.equal(await exitCode(gateway), 0);
    await caller.until("the end of the tunnel", () => caller.ended || caller.closed);
    assert.ok(performance.now() - began < 30_000, "it did not wait for the usual 30 s");
  });
});

test("--workers and --log-level are over what the configuration says", async () => {
  await using upstream = await Upstream.start();
  await using gateway = await startSimple({
    upstream: upstream.port,
    workers: 2,
    args: ["--workers", "3", "--log-level", "debug"],
  });
  assert.match(gateway.stderr, /"workers":3,"msg":"ready"/);
});

test("commands that no release has yet say so, with the code of wrong usage", async () => {
  for (const command of ["control", "plan", "top", "tap", "plugin", "token", "apply"]) {
    const { code, stdout, stderr } = await weft([command]);
    assert.deepEqual([code, stdout], [2, ""], command);
    assert.match(stderr, new RegExp(`^weft ${command}: not built yet`));
  }
});
