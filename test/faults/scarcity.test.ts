/** Too little memory, too few ports to call from: served as far as it goes, and whole again afterwards. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import http from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { test } from "node:test";
import { Gateway } from "../support/gateway.ts";
import { root } from "../support/source-tree.ts";

test("a hundred uploads at once pass through a process whose memory is short", async () => {
  const server = http.createServer((request, response) => {
    let bytes = 0;
    request.on("data", (chunk: Buffer) => (bytes += chunk.length));
    request.on("end", () => response.end(String(bytes)));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port: up } = server.address() as AddressInfo;
  try {
    await using gateway = await Gateway.start({
      env: { NODE_OPTIONS: "--max-old-space-size=96" },
      config: ({ port, admin }) => `
gateway: { listeners: [{ name: web, host: 127.0.0.1, port: ${port[0]} }] }
services: { app: { endpoints: ["127.0.0.1:${up}"] } }
policies: { default: { timeout: 5m } }
routes: [{ to: app }]
admin: { address: "127.0.0.1:${admin}" }
workers: 1
`,
    });
    const size = 4 * 1024 * 1024;
    const body = Buffer.alloc(size, "b");
    const upload = (): Promise<string> =>
      new Promise((resolve, reject) => {
        const request = http.request(
          { port: gateway.port, host: "127.0.0.1", method: "POST", agent: false },
          (response) => {
            let text = "";
            response.on("data", (chunk: Buffer) => (text += chunk.toString()));
            response.on("end", () => resolve(text));
          },
        );
        request.on("error", reject);
        request.end(body);
      });
    const answers = await Promise.all(Array.from({ length: 100 }, upload));
    assert.deepEqual([...new Set(answers)], [String(size)]);
    assert.equal(await gateway.metric("weft_worker_restarts_total"), 0);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

/** A network namespace of our own needs root and iproute2; on CI they are there, so it is never a reason to skip. */
const noNamespace: string | false =
  process.env["CI"] !== "true" &&
  spawnSync("unshare", ["-n", "ip", "link", "set", "lo", "up"]).status !== 0
    ? "no network namespace: this test needs root, unshare and iproute2"
    : false;

test(
  "with no port left to call from: 502 with the reason, and whole again when ports are back",
  { skip: noNamespace },
  () => {
    // all of it runs in the namespace: the gateway, its callers and its origin
    const done = spawnSync(
      "unshare",
      [
        "-n",
        "/bin/sh",
        "-c",
        'ip link set lo up && echo "40000 40019" > /proc/sys/net/ipv4/ip_local_port_range && exec "$@"',
        "sh",
        process.execPath,
        path.join(root, "test/faults/few-ports.ts"),
      ],
      { encoding: "utf8", timeout: 120_000 },
    );
    assert.equal(done.status, 0, `${done.stdout}${done.stderr}`);
  },
);
