/** How a process ends: running requests finish, nobody new is taken, and a second signal is obeyed at once. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { eventually } from "../support/eventually.ts";
import { exitCode, get, startSimple, Upstream } from "./serving.ts";

describe("drain", () => {
  it("finishes the running request, closes its connection and refuses new ones", async () => {
    await using upstream = await Upstream.start();
    await using gateway = await startSimple({ upstream: upstream.port });
    const running = get(gateway.port, "/hold", { connection: "keep-alive" });
    await upstream.heldOne();
    gateway.child.kill("SIGTERM");
    await eventually("the port to be closed", () =>
      get(gateway.port).then(
        () => false,
        () => true,
      ),
    );
    const readiness = await fetch(`http://127.0.0.1:${gateway.admin}/readyz`);
    assert.equal(readiness.status, 503);
    assert.equal(((await readiness.json()) as { draining: boolean }).draining, true);
    upstream.letGo();
    const answer = await running;
    assert.equal(answer.status, 200);
    assert.equal(answer.body, "held and answered");
    assert.equal(answer.headers.connection, "close");
    assert.equal(await exitCode(gateway), 0);
  });

  it("closes idle keep-alive connections, and ends", async () => {
    await using upstream = await Upstream.start();
    await using gateway = await startSimple({ upstream: upstream.port });
    const client = await gateway.connect();
    await client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert.equal((await client.response()).status, 200);
    gateway.child.kill("SIGINT");
    await client.untilEnded();
    assert.equal(await exitCode(gateway), 0);
  });

  it("cuts what still runs after drainTimeout, with exit code 0", async () => {
    await using upstream = await Upstream.start();
    await using gateway = await startSimple({
      upstream: upstream.port,
      extra: "drainTimeout: 300ms",
    });
    const running = get(gateway.port, "/hold");
    running.catch(() => {});
    await upstream.heldOne();
    assert.equal(await gateway.stop(), 0);
    await assert.rejects(running);
  });

  it("obeys a second signal with exit code 1", async () => {
    await using upstream = await Upstream.start();
    await using gateway = await startSimple({ upstream: upstream.port });
    const running = get(gateway.port, "/hold");
    running.catch(() => {});
    await upstream.heldOne();
    gateway.child.kill("SIGTERM");
    await eventually("draining to begin", () => gateway.stderr.includes("draining"));
    assert.equal(await gateway.stop("SIGTERM"), 1);
    await assert.rejects(running);
  });

  it("takes two signals from a script runner for the one that they are", async () => {
    await using upstream = await Upstream.start();
    await using gateway = await startSimple({
      upstream: upstream.port,
      env: { WEFT_RUNNER: "1" },
    });
    gateway.child.kill("SIGINT");
    gateway.child.kill("SIGINT");
    assert.equal(await gateway.stop("SIGINT"), 0);
  });

  it("drains on POST /drain, and stays until a signal ends it", async () => {
    await using upstream = await Upstream.start();
    await using gateway = await startSimple({ upstream: upstream.port });
    const running = get(gateway.port, "/hold");
    await upstream.heldOne();
    const answer = await fetch(`http://127.0.0.1:${gateway.admin}/drain`, { method: "POST" });
    assert.equal(answer.status, 202);
    await eventually("the port to be closed", () =>
      get(gateway.port).then(
        () => false,
        () => true,
      ),
    );
    assert.equal((await fetch(`http://127.0.0.1:${gateway.admin}/readyz`)).status, 503);
    upstream.letGo();
    assert.equal((await running).body, "held and answered");
    assert.equal((await fetch(`http://127.0.0.1:${gateway.admin}/readyz`)).status, 503);
    assert.equal(await gateway.stop(), 0);
  });
});
