/** The admin API and the commands over it, on a running gateway. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { weft } from "../cmd/cli.ts";
import { Gateway } from "../support/gateway.ts";
import { eventually } from "../support/eventually.ts";

const hash = createHash("sha256").update("secret-key").digest("hex");

const configured = (port: number, admin: number, body: string): string => `
gateway: { listeners: [{ name: web, host: 127.0.0.1, port: ${port} }] }
services:
  orders:
    endpoints: ["127.0.0.1:1", "127.0.0.1:${port}"]
    policy: { balance: round-robin, ejection: { consecutive: 2, base: 30s } }
routes:
  - { name: hello, match: { path: { exact: /hello } }, respond: { status: 200, body: ${body} } }
  - { name: limited, match: { path: /limited }, respond: { status: 204 }, plugins: [{ rate-limit: { limit: 1/h } }] }
  - { name: orders, match: { path: /orders }, to: orders, plugins: [api-key] }
plugins:
  - headers: { response: { set: { x-token: token-in-a-header } } }
consumers: [{ name: acme, keys: ["sha256:${hash}"] }]
admin: { address: "127.0.0.1:${admin}" }
workers: 2
`;

describe("the admin API of a running gateway", () => {
  let gateway: Gateway;
  let at: string;
  before(async () => {
    gateway = await Gateway.start({
      config: ({ port, admin }) => configured(port[0]!, admin, "first"),
    });
    at = `127.0.0.1:${gateway.admin}`;
  });
  after(() => gateway.stop("SIGKILL"));

  const hello = async () => (await fetch(`http://127.0.0.1:${gateway.port}/hello`)).text();
  const ask = async (where: string, init: RequestInit = {}) => {
    const response = await fetch(`http://${at}${where}`, init);
    return { status: response.status, json: JSON.parse(await response.text()) };
  };

  it("replaces the configuration with PUT, for the holder of the etag only", async () => {
    const { etag, version } = (await ask("/config")).json;
    const body = configured(gateway.port, gateway.admin, "second");
    const put = () => ask("/config", { method: "PUT", body, headers: { "if-match": etag } });
    assert.equal(await hello(), "first");
    const { status, json } = await put();
    assert.equal(status, 200);
    assert.equal(json.version, version + 1);
    assert.equal(await hello(), "second");
    assert.equal((await put()).status, 412);
  });

  it("refuses a wrong configuration with the problems that check prints, and serves on", async () => {
    const wrong = configured(gateway.port, gateway.admin, "third")
      .replace("to: orders,", "to: ordres,")
      .replace("limit: 1/h", "limit: soon");
    const { status, json } = await ask("/config", { method: "PUT", body: wrong });
    assert.equal(status, 422);
    const file = path.join(gateway.folder, "wrong.yaml");
    fs.writeFileSync(file, wrong);
    const checked = await weft(["check", "-c", file]);
    assert.equal(checked.code, 1);
    assert.ok(json.problems.length >= 2, JSON.stringify(json.problems));
    for (const { line, column, message } of json.problems) {
      assert.ok(checked.stderr.includes(`:${line}:${column}: `), `${line}:${column}`);
      assert.ok(checked.stderr.includes(message), message);
    }
    assert.equal(await hello(), "second");
    const ready = await ask("/readyz");
    assert.equal(ready.status, 200);
    assert.deepEqual(ready.json.lastRejected.problems, json.problems);
    assert.equal(await gateway.metric("weft_config_reload_total", { result: "rejected" }), 1);
  });

  it("goes back to the file on POST /reload", async () => {
    assert.equal((await ask("/reload", { method: "POST" })).status, 200);
    assert.equal(await hello(), "first");
    assert.equal((await ask("/readyz")).json.lastRejected, null);
  });

  it("shows no secret anywhere", async () => {
    for (const where of [
      "/config",
      "/plugins",
      "/routes",
      "/services",
      "/limits",
      "/metrics",
      "/readyz",
      "/dashboard.json",
    ]) {
      assert.ok(!(await gateway.ask(where)).includes(hash), where);
    }
  });

  it("counts what limits refuse", async () => {
    for (let i = 0; i < 3; i++) await fetch(`http://127.0.0.1:${gateway.port}/limited`);
    await eventually("two refusals", async () => (await ask("/limits")).json[0].limited === 2);
    const { json } = await ask("/dashboard.json");
    const limited = json.routes.find((route: { name: string }) => route.name === "limited");
    assert.equal(limited.requests, 3);
  });

  it("shows an endpoint that fails as ejected, and until when", async () => {
    const dead = async () => (await ask("/services")).json[0].endpoints[0];
    const healthy = { address: "127.0.0.1:1", healthy: true, state: "healthy", ejectedUntil: null };
    assert.deepEqual(await dead(), healthy);
    // Nobody listens on port 1; the other endpoint is the gateway itself, which answers 401.
    const ejected = await eventually("the ejection", async () => {
      const headers = { "x-api-key": "secret-key" };
      const response = await fetch(`http://127.0.0.1:${gateway.port}/orders`, { headers });
      assert.equal(response.status, 401);
      const endpoint = await dead();
      return endpoint.state === "ejected" && endpoint;
    });
    assert.equal(ejected.healthy, false);
    assert.ok(Date.parse(ejected.ejectedUntil) > 0);
  });

  it("says in /explain what happens to a request", async () => {
    const question = { method: "GET", url: "http://x/orders/7", headers: {} };
    const { json } = await ask("/explain", { method: "POST", body: JSON.stringify(question) });
    assert.equal(json.route, "orders");
    assert.deepEqual(json.plugins, ["api-key", "headers"]);
    assert.equal(json.service, "orders");
    assert.equal(json.endpoints[0].address, "127.0.0.1:1");
    assert.ok(
      json.lost.some(
        ({ route, why }: { route: string; why: string }) => route === "hello" && why !== "",
      ),
    );
    const said = await weft(["explain", "GET", "http://x/orders/7", "--admin", at, "--json"]);
    assert.equal(said.code, 0);
    assert.deepEqual(JSON.parse(said.stdout), json);
    const file = path.join(gateway.folder, "weft.yaml");
    const local = await weft(["explain", "GET", "http://x/orders/7", "-c", file, "--json"]);
    assert.deepEqual(JSON.parse(local.stdout).lost, json.lost);
  });

  it("is what weft routes, services and config print", async () => {
    const routes = await weft(["routes", "--admin", at]);
    assert.equal(routes.code, 0);
    assert.match(
      routes.stdout,
      /^ROUTE +TAKES +TO +PLUGINS\nhello +\/hello +answers 200 +headers\n/,
    );
    const services = await weft(["services", "--admin", at]);
    assert.match(services.stdout, /orders +127\.0\.0\.1:1 +\w+/);
    const config = await weft(["config", "--admin", at]);
    assert.match(config.stdout, /^# version \d+, from .*weft\.yaml/);
    assert.ok(!config.stdout.includes(hash));
    for (const command of ["routes", "services", "config"]) {
      const { stdout } = await weft([command, "--admin", at, "--json"]);
      assert.deepEqual(JSON.parse(stdout), (await ask(`/${command}`)).json);
    }
  });

  it("sets the log level of every thread", async () => {
    const { json } = await ask("/log-level", { method: "PUT", body: '{"level":"error"}' });
    assert.deepEqual(json, { level: "error" });
  });

  it("drains when told to, and stays to say so", async () => {
    assert.equal((await ask("/drain", { method: "POST" })).status, 202);
    const { status, json } = await ask("/readyz");
    assert.equal(status, 503);
    assert.equal(json.status, "draining");
    await eventually("the port to close", () =>
      fetch(`http://127.0.0.1:${gateway.port}/hello`).then(
        () => false,
        () => true,
      ),
    );
    assert.equal(await gateway.stop(), 0);
  });
});

describe("the commands without a running weft", () => {
  it("name the address and end with code 3", async () => {
    for (const command of ["routes", "services", "config"]) {
      const { code, stderr } = await weft([command, "--admin", "127.0.0.1:9"]);
      assert.equal(code, 3, command);
      assert.match(stderr, /127\.0\.0\.1:9/);
    }
  });

  it("refuse what is no address and no header with code 2", async () => {
    assert.equal((await weft(["routes", "--admin", "http://"])).code, 2);
    assert.equal((await weft(["explain", "GET", "http://x/", "-H", "no colon"])).code, 2);
    assert.equal(
      (await weft(["explain", "GET", "http://x/", "-c", "a", "--admin", "b:1"])).code,
      2,
    );
  });

  it("print the problems of a file that explain cannot use", async () => {
    const { code, stderr } = await weft([
      "explain",
      "GET",
      "http://x/",
      "-c",
      "/nowhere/weft.yaml",
    ]);
    assert.equal(code, 1);
    assert.match(stderr, /\/nowhere\/weft\.yaml/);
  });
});
