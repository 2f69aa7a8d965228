/** CONTRACT section 6, on a real process: what its words promise beyond the tests of the admin API. */

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";

const plugin = (stage: string) => `
import { definePlugin } from "weft/plugin";
export default definePlugin({ name: "own", stage: "${stage}",
  setup: () => ({ response(res) { res.headers.set("x-stage", "${stage}"); } }) });
`;

let gateway: Gateway;
before(async () => {
  gateway = await Gateway.start({
    files: { "own.ts": plugin("transform") },
    config: ({ port, admin }) => `
gateway: { listeners: [{ name: web, host: 127.0.0.1, port: ${port[0]} }] }
services: { app: { endpoints: ["127.0.0.1:1"] } }
routes:
  - { name: app, match: { path: /app }, to: app }
  - { name: pong, match: { path: /pong }, respond: { body: pong }, plugins: [rate-limit: { limit: 5/s }, ./own.ts] }
admin: { address: "127.0.0.1:${admin}" }
workers: 1
`,
  });
});
after(() => gateway?.stop());

/** The answer of the admin API, its body as JSON. */
async function ask(where: string, init: RequestInit = {}) {
  const answer = await fetch(`http://127.0.0.1:${gateway.admin}${where}`, init);
  const text = await answer.text();
  return { status: answer.status, headers: answer.headers, json: JSON.parse(text) };
}

async function explained(url: string) {
  const body = JSON.stringify({ method: "GET", url, headers: {} });
  return (await ask("/explain", { method: "POST", body })).json;
}

describe("the admin API", () => {
  for (const where of "livez readyz config routes services plugins certs limits version".split(" "))
    test(`GET /${where} is JSON`, async () => {
      const { status, headers } = await ask(`/${where}`);
      assert.equal(status, 200);
      assert.match(headers.get("content-type") ?? "", /^application\/json/);
    });

  test("listens on loopback, at the port that the configuration names", async () => {
    const listening = fs.readFileSync("/proc/net/tcp", "latin1");
    const port = gateway.admin.toString(16).toUpperCase().padStart(4, "0");
    assert.match(listening, new RegExp(`: 0100007F:${port} 00000000:0000 0A`));
  });

  test("services have endpoints with address, healthy, state and ejectedUntil", async () => {
    const { json } = await ask("/services");
    assert.deepEqual(json[0].endpoints, [
      { address: "127.0.0.1:1", healthy: true, state: "healthy", ejectedUntil: null },
    ]);
  });

  test("an explanation has the keys that the contract names", async () => {
    const answer = await explained("http://x/app");
    for (const key of "route lost plugins timeouts retry service endpoints".split(" "))
      assert.ok(Object.hasOwn(answer, key), key);
    assert.equal(answer.route, "app");
    assert.equal(answer.service, "app");
    assert.equal(answer.endpoints[0].address, "127.0.0.1:1");
    assert.deepEqual(
      answer.lost.map((one: { route: string }) => one.route),
      ["pong"],
    );
  });

  test("an explanation follows the file of a plugin when it changes", async () => {
    assert.deepEqual((await explained("http://x/pong")).plugins, ["rate-limit", "own"]);
    fs.writeFileSync(path.join(gateway.folder, "own.ts"), plugin("observe"));
    await eventually("the new plugin to serve", async () => {
      const answer = await fetch(`http://127.0.0.1:${gateway.port}/pong`);
      return (await answer.text()) === "pong" && answer.headers.get("x-stage") === "observe";
    });
    assert.deepEqual((await explained("http://x/pong")).plugins, ["own", "rate-limit"]);
  });

  test("the etag of /config opens PUT /config; with a stale one nothing changes", async () => {
    const { json, headers } = await ask("/config");
    assert.equal(json.etag, headers.get("etag"));
    assert.equal(typeof json.version, "number");
    const body = fs.readFileSync(path.join(gateway.folder, "weft.yaml"), "utf8");
    const put = (etag: string, text: string) =>
      ask("/config", { method: "PUT", body: text, headers: { "if-match": etag } });
    assert.equal((await put(json.etag, `${body}\nnonsense: 1\n`)).status, 422);
    assert.equal((await put('"stale"', body)).status, 412);
    assert.equal((await put(json.etag, body.replace("body: pong", "body: ping"))).status, 200);
    assert.equal((await put(json.etag, body)).status, 412);
    const answer = await fetch(`http://127.0.0.1:${gateway.port}/pong`);
    assert.equal(await answer.text(), "ping");
  });

  test("a configuration in JSON may be put, too", async () => {
    const config = {
      gateway: { listeners: [{ name: "web", host: "127.0.0.1", port: gateway.port }] },
      routes: [{ match: { path: "/pong" }, respond: { body: "json" } }],
      admin: { address: `127.0.0.1:${gateway.admin}` },
      workers: 1,
    };
    const { status } = await ask("/config", {
      method: "PUT",
      body: JSON.stringify(config),
      headers: { "content-type": "application/json" },
    });
    assert.equal(status, 200);
    const answer = await fetch(`http://127.0.0.1:${gateway.port}/pong`);
    assert.equal(await answer.text(), "json");
  });
});
