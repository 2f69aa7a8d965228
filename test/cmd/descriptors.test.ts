/** When file descriptors run out, connections wait or are refused; the process lives, and serves again afterwards. */

import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import path from "node:path";
import { describe, it } from "node:test";
import { eventually } from "../support/eventually.ts";
import { root } from "../support/source-tree.ts";
import { get, startSimple, Upstream } from "./serving.ts";

describe("a low descriptor limit", () => {
  it("is survived: traffic goes on once connections are closed", async () => {
    await using upstream = await Upstream.start();
    await using gateway = await startSimple({
      upstream: upstream.port,
      command: [
        "/bin/sh",
        "-c",
        'ulimit -n 160 && exec "$@"',
        "sh",
        process.execPath,
        path.join(root, "cmd/weft.ts"),
      ],
    });
    const hoard: net.Socket[] = [];
    for (let i = 0; i < 300; i++) {
      const socket = net.connect(gateway.port, "127.0.0.1");
      socket.on("error", () => {});
      await Promise.race([once(socket, "connect"), once(socket, "close")]).catch(() => {});
      hoard.push(socket);
    }
    await eventually(
      "descriptors to run out",
      () => hoard.some((socket) => socket.destroyed) || gateway.stderr.includes("accept failed"),
    );
    assert.equal(gateway.child.exitCode, null);
    // callers get three quarters of them: those to whom weft talks, and who watches it, get theirs
    assert.ok(
      (await gateway.metric("weft_connections_turned_away_total", { listener: "web" })) > 0,
    );
    const inside = hoard.find((socket) => !socket.destroyed)!;
    inside.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    const [answer] = (await once(inside, "data")) as [Buffer];
    assert.match(answer.toString(), /^HTTP\/1\.1 200 /);
    assert.match(gateway.stderr, /"wanted":10000,"carried":48,/);
    assert.match(gateway.stderr, /connections are turned away/);
    for (const socket of hoard) socket.destroy();
    await eventually("an answer", () =>
      get(gateway.port).then(
        ({ status }) => status === 200,
        () => false,
      ),
    );
    assert.equal(await gateway.metric("weft_worker_restarts_total"), 0);
    assert.equal(await gateway.stop(), 0);
  });
});
