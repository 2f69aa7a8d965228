/** Plugins that misbehave beyond a throw: one that never returns, and one that returns what is no answer. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";
import { answering, ok, Origin } from "../support/origin.ts";

const wild = `
import { definePlugin } from "weft/plugin";
export default definePlugin({
  name: "wild", stage: "transform",
  setup: () => ({
    request(req) {
      switch (req.headers.get("x-wild")) {
        case "loop": for (;;);
        case "junk": return { status: "none", body: 7 };
        case "null": return null;
        case "never": return new Promise(() => {});
        case "late": return Promise.reject();
      }
    },
  }),
});
`;

async function start(origin: Origin): Promise<Gateway> {
  return Gateway.start({
    files: { "wild.ts": wild },
    config: ({ port, admin }) => `
gateway: { listeners: [{ name: web, host: 127.0.0.1, port: ${port[0]} }] }
services: { app: { endpoints: ["${origin.address}"] } }
routes:
  - { match: { path: /wild }, to: app, plugins: [./wild.ts], policy: { timeout: 500ms } }
  - { to: app }
admin: { address: "127.0.0.1:${admin}" }
workers: 2
`,
  });
}

async function get(gateway: Gateway, path: string, wish = ""): Promise<number> {
  using client = await gateway.connect();
  await client.send(
    `GET ${path} HTTP/1.1\r\nHost: a\r\nX-Wild: ${wish}\r\nConnection: close\r\n\r\n`,
  );
  return (await client.response()).status;
}

test("a plugin that returns junk, rejects or never answers spoils its own request only", async () => {
  await using origin = await Origin.start(answering(() => ok("fine")));
  await using gateway = await start(origin);
  assert.equal(await get(gateway, "/wild", "late"), 500);
  assert.equal(await get(gateway, "/wild", "never"), 504);
  for (const wish of ["junk", "null"]) {
    const status = await get(gateway, "/wild", wish);
    assert.ok(status === 200 || status === 500, `${wish}: ${status}`);
  }
  assert.equal(await get(gateway, "/"), 200);
  assert.equal(await gateway.metric("weft_worker_restarts_total"), 0);
});

test("a plugin that never returns costs its worker: the watchdog replaces it, the other one serves on", async () => {
  await using origin = await Origin.start(answering(() => ok("fine")));
  await using gateway = await start(origin);
  const lost = get(gateway, "/wild", "loop").catch(() => "cut");
  await eventually(
    "the stuck worker to be replaced",
    async () => (await gateway.metric("weft_worker_restarts_total")) === 1,
    90_000,
  );
  assert.equal(await lost, "cut");
  assert.match(gateway.stderr, /event loop is stuck/);
  await eventually("readiness", () => gateway.isReady());
  const after = await Promise.all(Array.from({ length: 8 }, () => get(gateway, "/")));
  assert.deepEqual([...new Set(after)], [200]);
});
