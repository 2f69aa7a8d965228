/** Changing the configuration of a running process: whole or not at all, and no request notices. */

import assert from "node:assert/strict";
import { renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { eventually } from "../support/eventually.ts";
import type { Gateway } from "../support/gateway.ts";
import { RawClient } from "../support/raw-client.ts";
import {
  get,
  keepAsking,
  simpleConfig,
  startSimple,
  Upstream,
  type SimpleOptions,
} from "./serving.ts";

/** Replaces the file as an editor does. */
function write(gateway: Gateway, text: string, name = "weft.yaml"): void {
  const next = path.join(gateway.folder, `${name}.next`);
  writeFileSync(next, text);
  renameSync(next, path.join(gateway.folder, name));
}

function configFor(
  gateway: Gateway,
  options: Pick<SimpleOptions, "upstream" | "routes" | "extra">,
) {
  return simpleConfig({ port: gateway.ports, admin: gateway.admin }, options);
}

function respond(body: string): string {
  return `  - { name: all, respond: { status: 200, body: ${body} } }`;
}

describe("reload", () => {
  it("applies a changed file by itself, with no failed request", async () => {
    await using upstream = await Upstream.start();
    await using gateway = await startSimple({ upstream: upstream.port, routes: respond("one") });
    await using load = keepAsking(gateway.port);
    for (const body of ["two", "three", "four"]) {
      write(gateway, configFor(gateway, { upstream: upstream.port, routes: respond(body) }));
      await eventually(`the answer ${body}`, async () => (await get(gateway.port)).body === body);
    }
    const { asked, failed } = await load.stop();
    assert.deepEqual(failed, []);
    assert.ok(asked > 10);
    assert.equal(await gateway.metric("weft_config_reload_total", { result: "applied" }), 4);
  });

  it("keeps the old configuration when the new one is wrong, and says so", async () => {
    await using upstream = await Upstream.start();
    await using gateway = await startSimple({ upstream: upstream.port, routes: respond("one") });
    await using load = keepAsking(gateway.port);
    write(
      gateway,
      configFor(gateway, { upstream: upstream.port, routes: "  - { name: all, to: nowhere }" }),
    );
    await eventually("the rejection to be counted", async () => {
      return (await gateway.metric("weft_config_reload_total", { result: "rejected" })) === 1;
    });
    assert.deepEqual((await load.stop()).failed, []);
    assert.equal((await get(gateway.port)).body, "one");
    const readiness = JSON.parse(await gateway.ask("/readyz"));
    assert.equal(readiness.ready, true);
    assert.equal(readiness.lastRejected.problems[0].line, 7);
    assert.match(gateway.stderr, /configuration rejected/);
    assert.match(gateway.stderr, /weft\.yaml:7:22: .*nowhere/);
    // and a right one is taken again
    write(gateway, configFor(gateway, { upstream: upstream.port, routes: respond("two") }));
    await eventually("the answer two", async () => (await get(gateway.port)).body === "two");
    assert.equal(JSON.parse(await gateway.ask("/readyz")).lastRejected, null);
  });

  it("reloads on SIGHUP", async () => {
    await using upstream = await Upstream.start();
    await using gateway = await startSimple({ upstream: upstream.port });
    gateway.child.kill("SIGHUP");
    await eventually("the second configuration", async () => {
      return JSON.parse(await gateway.ask("/config")).version === 2;
    });
    assert.equal((await get(gateway.port)).status, 200);
  });

  it("lets a running request finish on the configuration it began with", async () => {
    await using upstream = await Upstream.start();
    await using gateway = await startSimple({ upstream: upstream.port });
    const running = get(gateway.port, "/hold");
    await upstream.heldOne();
    write(gateway, configFor(gateway, { upstream: upstream.port, routes: respond("new") }));
    await eventually("the answer new", async () => (await get(gateway.port)).body === "new");
    upstream.letGo();
    assert.equal((await running).body, "held and answered");
  });

  it("holds for the next request on an open connection, trust and limits too", async () => {
    await using upstream = await Upstream.start();
    await using gateway = await startSimple({ upstream: upstream.port, workers: 1 });
    const text = configFor(gateway, { upstream: upstream.port });
    const gatewayWith = (more: string): string =>
      text
        .replace("gateway:", `gateway:\n  ${more}`)
        .replace("{ name: all, to: app }", "{ name: all, to: app, plugins: [./who.ts] }");
    writeFileSync(
      path.join(gateway.folder, "who.ts"),
      `import { definePlugin, reply } from "weft/plugin";
export default definePlugin({ name: "who", stage: "transform", setup: () => ({ request: (_req, ctx) => reply(200, ctx.client.address) }) });
`,
    );
    const versionIs = (version: number) =>
      eventually(`configuration ${version}`, async () => {
        return JSON.parse(await gateway.ask("/config")).version === version;
      });
    write(gateway, gatewayWith("trustedHops: 1"));
    await versionIs(2);
    using client = await RawClient.connect(gateway.port);
    const who = async (more = "") => {
      await client.send(`GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.7\r\n${more}\r\n`);
      return client.response();
    };
    assert.equal((await who()).body, "203.0.113.7");
    write(gateway, gatewayWith("limits: { headerBytes: 1KiB }"));
    await versionIs(3);
    assert.equal((await who()).body, "127.0.0.1", "nobody is believed any more");
    assert.equal((await who(`X-Long: ${"x".repeat(1024)}\r\n`)).status, 431);
  });

  it("opens and closes listeners, and refuses a port that is taken", async () => {
    await using upstream = await Upstream.start();
    await using gateway = await startSimple({ upstream: upstream.port, ports: 2 });
    const [first, second] = gateway.ports as [number, number];
    const text = configFor(gateway, { upstream: upstream.port });
    write(gateway, text.replace(String(first), String(second)));
    await eventually("the second port to answer", () =>
      get(second).then(
        ({ status }) => status === 200,
        () => false,
      ),
    );
    await eventually("the first port to be closed", () =>
      get(first).then(
        () => false,
        () => true,
      ),
    );
    write(gateway, text.replace(String(first), String(upstream.port)));
    await eventually("the rejection", () => gateway.stderr.includes("is taken by another process"));
    assert.equal((await get(second)).status, 200);
  });

  it("replaces the workers when a plugin's file changes, and keeps them when it is broken", async () => {
    await using upstream = await Upstream.start();
    const plugin = (value: string) => `
import { definePlugin } from "weft/plugin";
import { said } from "./said.ts";
export default definePlugin({
  name: "say", stage: "transform",
  setup() { return { response(res) { res.headers.set("x-say", said + ${JSON.stringify(value)}); } }; },
});
`;
    await using gateway = await startSimple({
      upstream: upstream.port,
      routes: "  - { name: all, to: app, plugins: [./say.ts] }",
      files: { "say.ts": plugin("one"), "said.ts": 'export const said = "i say ";' },
    });
    const said = async () => (await get(gateway.port)).headers["x-say"];
    assert.equal(await said(), "i say one");
    await using load = keepAsking(gateway.port);
    write(gateway, plugin("two"), "say.ts");
    const applied = (count: number) =>
      eventually("the new code in every worker", async () => {
        const reloads = await gateway.metric("weft_config_reload_total", { result: "applied" });
        return reloads === count;
      });
    await applied(2);
    assert.equal(await said(), "i say two");
    write(gateway, 'export const said = "i whisper ";', "said.ts");
    await applied(3);
    assert.equal(await said(), "i whisper two");
    write(gateway, "this is no code", "say.ts");
    await eventually("the rejection", () => gateway.stderr.includes("configuration rejected"));
    assert.equal(await said(), "i whisper two");
    assert.deepEqual((await load.stop()).failed, []);
    assert.equal(await gateway.metric("weft_worker_restarts_total"), 0);
  });

  it("takes a whole configuration by PUT /config", async () => {
    await using upstream = await Upstream.start();
    await using gateway = await startSimple({ upstream: upstream.port });
    const url = `http://127.0.0.1:${gateway.admin}/config`;
    const { etag } = (await (await fetch(url)).json()) as { etag: string };
    const put = (body: string) =>
      fetch(url, { method: "PUT", headers: { "if-match": etag }, body });
    const wrong = await put("gateway: { listeners: [] }\nroutse: []\n");
    assert.equal(wrong.status, 422);
    const text = configFor(gateway, { upstream: upstream.port, routes: respond("put") });
    assert.equal((await put(text)).status, 200);
    assert.equal((await get(gateway.port)).body, "put");
    assert.equal((await put(text)).status, 412);
  });
});
